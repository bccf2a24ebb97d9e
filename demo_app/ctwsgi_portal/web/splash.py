# SPDX-License-Identifier: MIT
"""The portal's own pages: acceptance, status with the time left, logout.

The client is the connection's source. There is no cookie: as at the gateway, the session belongs to
the address.
"""

from __future__ import annotations

import re

from flask import Blueprint, abort, redirect, request
from werkzeug.wrappers import Response

from ..state.records import Session
from . import language
from .accept import NotAccepted, accept, may_again
from .continuation import Continuations, Destination
from .portal import NetworkClient, Portal, now
from .probes import HOSTS
from .security import Tokens

ACCEPT, LOGOUT = "accept", "logout"
"""Purposes of form tokens."""


def create_splash(portal: Portal) -> Blueprint:
    """The pages at the root of the portal's URL."""
    pages = _Splash(portal)
    blueprint = Blueprint("splash", __name__)
    blueprint.get("/")(pages.splash)
    blueprint.get("/status")(pages.status)
    blueprint.post("/accept")(pages.accept)
    blueprint.post("/logout")(pages.logout)
    return blueprint


class _Splash:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._tokens = Tokens(portal)
        self._continuations = Continuations(portal)

    def splash(self) -> Response | str:
        """The first page of a redirected browser."""
        client = self._client()
        if self._portal.session(client):
            return self._see_status()
        return self._forms(client)

    def status(self) -> Response | str:
        """The page of an accepted client. Another client is redirected to the splash page."""
        client = self._client()
        session = self._portal.session(client)
        if session is None:
            return redirect("/", 303)
        return self._portal.pages.render(
            "status.html",
            here="/status",
            url=f"{self._portal.url()}/",
            destination=self._destination(client),
            continue_after=self._portal.config.portal.continue_after,
            logout_token=self._tokens.make(LOGOUT, client.address),
            again=may_again(client),
            **self._forms_values(client),
            **self._left(session),
        )

    def accept(self) -> Response | tuple[str, int]:
        """Answers to a form of the splash or the status page."""
        client = self._client()
        if not self._tokens.valid(request.form.get("token", ""), ACCEPT, client.address):
            return self._forms(client, "stale"), 400
        if self._portal.session(client) and not may_again(client):
            return self._see_status()  # the form was sent twice
        try:
            accept(self._portal, client, request.form.get("method", ""), request.form.to_dict())
        except NotAccepted as e:
            return self._forms(client, e.text), e.status
        return self._see_status()

    def logout(self) -> Response | tuple[str, int]:
        """Answers to the logout form of the status page."""
        client = self._client()
        if not self._tokens.valid(request.form.get("token", ""), LOGOUT, client.address):
            return self._forms(client, "stale"), 400
        if session := self._portal.session(client):
            self._portal.store.end(session.grant.id, "logout")
            self._portal.note(f"logged out of {client.network.name}", client)
        return _see("/", "lang")

    def _client(self) -> NetworkClient:
        client = self._portal.client()
        if client is None:
            abort(403)
        return client

    def _forms(self, client: NetworkClient, mistake: str = "") -> str:
        return self._portal.pages.render(
            "splash.html",
            here="/",
            destination=self._destination(client),
            mistake=mistake,
            **self._forms_values(client),
        )

    def _forms_values(self, client: NetworkClient) -> dict[str, object]:
        return {
            "methods": client.network.access.methods,
            "terms": self._portal.pages.terms(),
            "accept_token": self._tokens.make(ACCEPT, client.address),
        }

    def _destination(self, client: NetworkClient) -> Destination | None:
        """The destination; None after a probe, to which nobody wants to go back."""
        destination = self._continuations.read(client, language.carried("to"))
        return None if destination and destination.name in HOSTS else destination

    def _left(self, session: Session) -> dict[str, str]:
        texts = self._portal.pages.texts()
        limit = session.grant.limit_bytes
        data = max(0, limit - session.usage.bytes) if limit is not None else None
        return {
            "time_left": language.duration(session.grant.expires_at - now(), texts),
            "data_left": "" if data is None else language.size(data),
            "data_used": language.size(session.usage.bytes),
        }

    def _see_status(self) -> Response:
        return _see("/status", "to", "lang")


def _see(path: str, *carried: str) -> Response:
    """303 to a path of the portal, with the values of the request that are spelled like tokens."""
    words = [(name, language.carried(name)) for name in carried]
    query = "&".join(f"{name}={value}" for name, value in words if _CARRIED.fullmatch(value))
    return redirect(f"{path}?{query}" if query else path, 303)


_CARRIED = re.compile(r"[A-Za-z0-9_.-]{1,800}")
"""The spelling of tokens and languages. No other value of a client goes into a Location."""
