# SPDX-License-Identifier: MIT
"""The headers of every answer, the tokens of forms, and the check of the Host header.

A token is signed for a purpose and a client, and has a time. It needs no cookie, because the
reduced browsers in which devices open portals may not keep one.
demo_app/docs/portal.md#security-decisions says why a page of another site cannot read a token.
"""

from __future__ import annotations

import hashlib
import traceback
from typing import Any

from flask import Flask, Response, abort, request
from itsdangerous import BadData, URLSafeTimedSerializer

from ctwsgi.flask import origin

from .portal import Portal

TOKEN_AGE = 2 * 3600
"""Seconds for which a form is valid."""

MOST_FORM = 16 * 1024
"""Bytes in the body of a request."""


def make_serializer(portal: Portal, purpose: str) -> URLSafeTimedSerializer:
    """Signs values with the time, and refuses values that were signed for another purpose."""
    key = portal.derived(purpose)
    kwargs = {"digest_method": hashlib.sha256}
    return URLSafeTimedSerializer(key, salt=purpose, signer_kwargs=kwargs)


class Tokens:
    """Signs and checks tokens. Whoever checks one knows its purpose and bearer already."""

    def __init__(self, portal: Portal) -> None:
        self._serializer = make_serializer(portal, "form")

    def make(self, purpose: str, bearer: str) -> str:
        """A token. `bearer` is a client's address, or the random name of an operator's session."""
        return str(self._serializer.dumps([purpose, bearer]))

    def valid(self, token: str, purpose: str, bearer: str) -> bool:
        try:
            said = self._serializer.loads(token, max_age=TOKEN_AGE)
        except BadData:
            return False
        return bool(said == [purpose, bearer])


class App(Flask):
    """A Flask with the headers of _protect(), whose log has no client data."""

    def __init__(self, name: str, portal: Portal) -> None:
        super().__init__(name, static_folder=None)
        # Werkzeug would answer //status with 308, which a browser keeps for ever.
        self.url_map.merge_slashes = False
        self._portal = portal
        _protect(self, portal)

    def log_exception(self, exc_info: Any) -> None:
        """Logs an exception without the path and the message, which may quote the request."""
        kind, error, trace = exc_info
        if self._portal.config.log.clients:
            self._portal.log.error("unexpected error", exc_info=error)
        else:
            lines = "".join(traceback.format_tb(trace))
            self._portal.log.error("unexpected error: %s\n%s", kind.__name__, lines)


def _protect(app: Flask, portal: Portal) -> None:
    app.config["MAX_CONTENT_LENGTH"] = MOST_FORM
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{portal.pages.style_hash}'",
            "img-src data:",  # for a theme's logo
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(
            {
                # The answer is for this client at this moment only.
                "Cache-Control": "no-store",
                "Content-Security-Policy": policy,
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
            }
        )
        return response


def refuse_other_names(app: Flask, portal: Portal) -> None:
    """421 for a Host that is not the portal's URL, and for forms sent by other sites' pages."""

    @app.before_request
    def check_name() -> None:
        if not portal.is_own_name(request.headers.get("Host", "")):
            abort(421)
        # The token protects the form. This is a second check, which browsers allow with https only.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if request.method == "POST" and site not in ("same-origin", "none"):
            abort(403)


def client_address() -> str:
    """The connection's source address, from no header; '' for a unix socket."""
    return origin.orig_src[0] if origin.orig_src else ""
