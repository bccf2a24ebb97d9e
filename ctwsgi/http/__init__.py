# SPDX-License-Identifier: MIT
"""HTTP/1.1 between bytes and WSGI: request parser, environ, input stream, response framing.

There are no sockets here: request body and response use a `Channel` (see channel.py).
"""
