# SPDX-License-Identifier: MIT
"""The redirected listener answers all requests of redirected connections.

Every answer closes the connection, so that a browser that is let through later does not send
further requests to the portal on an old connection.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from ctwsgi.flask import origin
from ctwsgi.wire.address import show

from ..state import StoreError
from . import probes
from .continuation import Continuations
from .plain import plain_error, plain_text
from .portal import NetworkClient, Portal
from .security import App

RETRY = 1
"""Seconds after which the gateway should let an accepted client through."""


def create_redirected(portal: Portal) -> Flask:
    """Answers every host, path and method."""
    app = App(__name__, portal)
    portal.pages.attach(app)
    answers = _Redirected(portal)
    # It replaces routes, because any path may come, `//` included.
    app.before_request(answers.answer)
    app.after_request(_close)
    app.register_error_handler(HTTPException, plain_error)
    app.register_error_handler(StoreError, answers.store_error)
    return app


class _Redirected:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._continuations = Continuations(portal)

    def answer(self) -> Response:
        """The answer to any request."""
        portal, destination = self._portal, origin.orig_dst
        if destination is None:
            return plain_text(421, f"This port is for redirected connections. Open {self._url}/")
        host = request.headers.get("Host", "")
        if portal.is_self(destination) or portal.is_own_name(host):
            # The packet filter redirects connections to the portal itself: a 302 makes a loop.
            return plain_text(508, "The portal's own address is being redirected to the portal.")
        client = portal.client()
        if client is None:
            return plain_text(403, "Your address is in none of this portal's networks.")
        portal.destinations.count(show(*destination))
        agent = request.headers.get("User-Agent", "")
        probe = probes.find(host, request.path, agent)
        if portal.session(client) is not None:
            return probe.online() if probe else self._soon()
        if probe or _is_browser():
            return self._to_portal(client, destination, host)
        return plain_text(511, f"This network asks you to log in first. Open {self._url}/")

    @property
    def _url(self) -> str:
        return self._portal.url()

    def _to_portal(
        self, client: NetworkClient, destination: tuple[str, int], host: str
    ) -> Response:
        token = self._continuations.make(client, destination, host)
        where = f"{self._url}/?to={token}"
        # A browser would keep a 301 for ever. After 303 it does not send a form to the portal.
        status = 302 if request.method in ("GET", "HEAD") else 303
        response = plain_text(status, f"This network asks you to log in first: {where}")
        response.headers["Location"] = where
        return response

    def _soon(self) -> Response:
        """The answer to an accepted client whom the gateway does not let through at the moment."""
        if not _is_browser():
            response = plain_text(503, "You are being connected: try again in a moment.")
        else:
            # The page reloads itself, so that it needs no URL of the client.
            body = self._portal.pages.render("connecting.html", refresh=RETRY, portal=self._url)
            response = Response(body, 503)
        response.headers["Retry-After"] = str(RETRY)
        return response

    def store_error(self, error: StoreError) -> Response:
        self._portal.log.error("%s", error)
        return plain_text(503, "The portal cannot work at the moment. Please try again soon.")


def _is_browser() -> bool:
    """Whether the client may be a browser: other programs do not ask for text/html."""
    return "text/html" in request.headers.get("Accept", "")


def _close(response: Response) -> Response:
    response.headers["Connection"] = "close"
    return response
