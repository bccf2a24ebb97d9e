# SPDX-License-Identifier: MIT
"""HTTP/1.1 between bytes and WSGI: request parser, environ, input stream, response framing.

No sockets here: a `Channel` (see channel.py) is all that input and response need of one.
"""
