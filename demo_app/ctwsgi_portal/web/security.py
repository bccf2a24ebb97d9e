# SPDX-License-Identifier: MIT
"""Headers of every answer, tokens in every form, and the refusal of other names for the portal.

A form's token says: made for this purpose, for this client, not long ago. It is signed and needs
no cookie, which mini browsers may not keep. A page of somebody else's cannot read one: it would
have to be fetched from the client's own address, and no answer of ours may be read across origins.
DNS rebinding does not help either, since a request whose Host is not ours is refused.
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
"""Seconds that a form may be left open."""

MOST_FORM = 16 * 1024
"""Bytes of a request's body."""


def make_serializer(portal: Portal, purpose: str) -> URLSafeTimedSerializer:
    """Signs values with their time; what was signed for another purpose is refused."""
    key = portal.derived(purpose)
    kwargs = {"digest_method": hashlib.sha256}
    return URLSafeTimedSerializer(key, salt=purpose, signer_kwargs=kwargs)


class Tokens:
    """Signs and checks `purpose` and `bearer`, both of which the checker knows beforehand."""

    def __init__(self, portal: Portal) -> None:
        self._serializer = make_serializer(portal, "form")

    def make(self, purpose: str, bearer: str) -> str:
        """`bearer` is a client's address, or the random name of an operator's session."""
        return str(self._serializer.dumps([purpose, bearer]))

    def valid(self, token: str, purpose: str, bearer: str) -> bool:
        try:
            said = self._serializer.loads(token, max_age=TOKEN_AGE)
        except BadData:
            return False
        return bool(said == [purpose, bearer])


class App(Flask):
    """A Flask whose answers have our headers, and whose log lines hold no client data."""

    def __init__(self, name: str, portal: Portal) -> None:
        super().__init__(name, static_folder=None)
        self._portal = portal
        _protect(self, portal)

    def log_exception(self, exc_info: Any) -> None:
        """Flask's would name the path, and an exception's own words may quote a request."""
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
            "img-src data:",  # a theme's logo; nothing is fetched
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(
            {
                # The answer is about this client at this moment: nobody may keep it.
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
        # Browsers send it to https only; the token is what protects, this is one more lock.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if request.method == "POST" and site not in ("same-origin", "none"):
            abort(403)


def client_address() -> str:
    """The address at the other end, '' for a unix socket: never a header's word."""
    return origin.orig_src[0] if origin.orig_src else ""
