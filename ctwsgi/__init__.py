# SPDX-License-Identifier: MIT
"""ctwsgi tells a WSGI application where a redirected client was really going.

`WSGIServer` is imported on first use: the middleware runs under other servers, which need neither
gevent nor httptools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import OriginError, Reason
from .origin import Address, Origin
from .version import __version__

if TYPE_CHECKING:
    from .server import WSGIServer

__all__ = ["Address", "Origin", "OriginError", "Reason", "WSGIServer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "WSGIServer":
        from .server import WSGIServer

        return WSGIServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
