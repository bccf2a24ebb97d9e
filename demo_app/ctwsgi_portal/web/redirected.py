# SPDX-License-Identifier: MIT
"""The redirected listener: whatever a client dialled, its answer comes from here.

Every answer closes the connection: a browser that has been let through must not meet us again on
one that it kept.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from ctwsgi.flask import origin
from ctwsgi.wire.address import show

from ..state import StoreError
from . import probes
from .continuation import Continuations
from .portal import Client, Portal
from .security import App

RETRY = 1
"""Seconds after which an accepted client should be through its gateway."""


def create_redirected(portal: Portal) -> Flask:
    """Answers every host, path and method."""
    app = App(__name__, portal)
    portal.pages.attach(app)
    answers = _Redirected(portal)
    # Instead of routes: any path may come, `//` included.
    app.before_request(answers.answer)
    app.after_request(_close)
    app.register_error_handler(HTTPException, _plain_error)
    app.register_error_handler(StoreError, answers.store_error)
    return app


class _Redirected:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._continuations = Continuations(portal)

    def answer(self) -> Response:
        """To any request."""
        portal, destination = self._portal, origin.orig_dst
        if destination is None:
            return _text(421, f"This port is for redirected connections. Open {self._url}/")
        host = request.headers.get("Host", "")
        if portal.is_self(destination) or portal.is_own_name(host):
            # The packet filter sends us our own clients back; another 302 would never end.
            return _text(508, "The portal's own address is being redirected to the portal.")
        client = portal.client()
        if client is None:
            return _text(403, "Your address is in none of this portal's networks.")
        portal.destinations.count(show(*destination))
        agent = request.headers.get("User-Agent", "")
        probe = probes.find(host, request.path, agent)
        if portal.session(client) is not None:
            return probe.online() if probe else self._soon()
        if probe or _is_browser():
            return self._to_portal(client, destination, host)
        return _text(511, f"This network asks you to log in first. Open {self._url}/")

    @property
    def _url(self) -> str:
        return self._portal.url()

    def _to_portal(self, client: Client, destination: tuple[str, int], host: str) -> Response:
        token = self._continuations.make(client, destination, host)
        where = f"{self._url}/?to={token}"
        # 302, since a 301 would be kept and lead here for ever; 303 so that no form is sent on.
        status = 302 if request.method in ("GET", "HEAD") else 303
        response = _text(status, f"This network asks you to log in first: {where}")
        response.headers["Location"] = where
        return response

    def _soon(self) -> Response:
        """Accepted, but the gateway has not heard of it yet, or has lost it."""
        if not _is_browser():
            response = _text(503, "You are being connected: try again in a moment.")
        else:
            # It reloads what the browser shows, so that no address has to be repeated by us.
            body = self._portal.pages.render("connecting.html", refresh=RETRY, portal=self._url)
            response = Response(body, 503)
        response.headers["Retry-After"] = str(RETRY)
        return response

    def store_error(self, error: StoreError) -> Response:
        self._portal.log.error("%s", error)
        return _text(503, "The portal cannot work at the moment. Please try again soon.")


def _is_browser() -> bool:
    """Whether a person may be looking: programs do not ask for pages by name."""
    return "text/html" in request.headers.get("Accept", "")


def _text(status: int, line: str) -> Response:
    return Response(line + "\n", status, mimetype="text/plain")


def _close(response: Response) -> Response:
    response.headers["Connection"] = "close"
    return response


def _plain_error(error: HTTPException) -> Response:
    return _text(error.code or 500, f"{error.code} {error.name}")
