# SPDX-License-Identifier: MIT
"""Sans-IO codecs: bytes in, facts out. No sockets, no gevent.

`ctframe` the frames; `proxy` both PROXY versions (behind it `proxy_v1`, `proxy_v2`, `header`,
`tlv`, `crc32c`); `auth` keys and tags; `address` the one spelling of addresses. OriginError for
what came from a peer, ValueError for what a caller asked of an encoder, and nothing else.
"""
