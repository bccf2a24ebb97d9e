# SPDX-License-Identifier: MIT
"""For the unit tests of applications: requests that look redirected, without a redirect.

    client.get("/", environ_overrides=origin_environ("198.18.0.7", 80))

works with the test clients of Flask and werkzeug, with and without OriginMiddleware: the middleware
keeps an origin that is already in environ.
"""

from __future__ import annotations

from typing import Any

from .origin import Address, Origin
from .wire.address import host_text, pack_host

_KERNEL_TOLD = ("conntrack", "tproxy")
_SOURCES = ("ctframe", "proxy", *_KERNEL_TOLD, "none")


def origin_environ(
    host: str | None = None,
    port: int = 80,
    *,
    source: str = "conntrack",
    verified: bool | None = None,
    src: Address | None = ("127.0.0.1", 49152),
    tlvs: tuple[tuple[int, bytes], ...] = (),
    auth: int | None = None,
) -> dict[str, Any]:
    """The `ct.*` and REMOTE_* keys of a connection that was going to `host`, `port`.

    Without `host` it is a connection that was not redirected. `src` is the client; None stands for
    a unix socket. `verified` is by default what the source would set: true when the kernel told the
    destination or a key (`auth`) signed the header. ValueError for what no source could set: a host
    that is not an address, a port outside 0..65535, an unknown source, `none` with a host.
    """
    if source not in _SOURCES or (source == "none" and host is not None):
        raise ValueError(f"no destination comes from source {source!r}")
    dst = None if host is None else _checked(host, port)
    if verified is None:
        verified = dst is not None and (source in _KERNEL_TOLD or auth is not None)
    peer = None if src is None else _checked(*src)
    remote = {
        "REMOTE_ADDR": peer[0] if peer else "",
        "REMOTE_PORT": str(peer[1]) if peer else "",
    }
    return {**Origin(source, dst, peer, verified, tlvs, auth).environ(), **remote}


def _checked(host: str, port: int) -> Address:
    if not 0 <= port <= 65535:
        raise ValueError(f"not a port: {port}")
    return host_text(pack_host(host)), port
