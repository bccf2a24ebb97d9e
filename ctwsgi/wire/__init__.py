# SPDX-License-Identifier: MIT
"""Codecs of the wire formats, without I/O: no sockets, no gevent.

`ctframe` has the frames; `proxy` both versions of the PROXY protocol (it uses `proxy_v1`,
`proxy_v2`, `header`, `tlv` and `crc32c`); `auth` keys and signatures; `address` the spelling of
addresses. Decoders raise OriginError for bytes of a peer, encoders ValueError for arguments of a
caller; they raise nothing else.
"""
