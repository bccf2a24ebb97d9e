# SPDX-License-Identifier: MIT
"""The Captive Portal API (RFC 8908), on its own TLS listener.

The keys and types are those of section 5. The client is the TCP peer. The gateway must not
translate it: it has to be the address that enforcement knows (section 4).
"""

from __future__ import annotations

import json

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from ..config.listeners import API_PATH
from ..state import StoreError
from ..state.records import Session
from .accept import may_again
from .plain import plain_error, plain_text
from .portal import NetworkClient, Portal, now
from .security import App

MEDIA_TYPE = "application/captive+json"


def create_api(portal: Portal) -> Flask:
    """Answers GET of API_PATH. Its `no-store` is stricter than the `private` of section 5."""
    app = App(__name__, portal)
    app.register_error_handler(HTTPException, plain_error)

    @app.get(API_PATH)
    def state() -> Response:
        client = portal.client()
        if client is None:
            return plain_text(403, "Your address is in none of this portal's networks.")
        answer = answer_for(portal, client, portal.session(client))
        response = Response(json.dumps(answer), mimetype=MEDIA_TYPE)
        response.headers["Content-Type"] = MEDIA_TYPE  # it has no charset
        return response

    @app.errorhandler(StoreError)
    def store_error(error: StoreError) -> Response:
        portal.log.error("%s", error)
        return plain_text(503, "Please try again soon.")

    return app


def answer_for(portal: Portal, client: NetworkClient, session: Session | None) -> dict[str, object]:
    """The JSON object. As section 5 demands, it has user-portal-url only with TLS."""
    answer: dict[str, object] = {"captive": session is None}
    if portal.secure:
        answer["user-portal-url"] = f"{portal.url()}/"
    if portal.config.portal.venue_info_url:
        answer["venue-info-url"] = portal.config.portal.venue_info_url
    if session is None:
        return answer
    answer["can-extend-session"] = may_again(client)
    answer["seconds-remaining"] = max(0, int(session.grant.expires_at - now()))
    if session.grant.limit_bytes is not None:
        answer["bytes-remaining"] = max(0, session.grant.limit_bytes - session.usage.bytes)
    return answer
