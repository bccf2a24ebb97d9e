# SPDX-License-Identifier: MIT
"""`origin`: the current request's Origin, for Flask views.

It reads `ct.origin` from environ. Our server sets that key; under any other server
`app.wsgi_app = OriginMiddleware(app.wsgi_app)` does. Where the key is missing, and outside a
request, `origin` is falsy with source `none`, so a view may always say `if origin: ...`.
"""

from __future__ import annotations

from flask import has_request_context, request
from werkzeug.local import LocalProxy

from .origin import Origin

_NOWHERE = Origin("none")


def _current() -> Origin:
    return request.environ.get("ct.origin", _NOWHERE) if has_request_context() else _NOWHERE


origin: Origin = LocalProxy(_current)  # type: ignore[assignment]
