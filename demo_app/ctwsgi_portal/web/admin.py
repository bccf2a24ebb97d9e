# SPDX-License-Identifier: MIT
"""The operator's page: sessions, frequent destinations, grants over time. It is read-only unless
`kick = true` lets it end sessions.

An address that is not in [admin] allow gets 404. A login is a signed cookie; it is valid for
[admin] session, and becomes invalid when the password changes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from ipaddress import ip_address

from flask import Blueprint, Flask, abort, redirect, request, session
from werkzeug.wrappers import Response

from ..config.site import Admin
from ..state.records import Session
from . import language
from .accept import WINDOW, check_password
from .plot import HOUR, HOURS, plot
from .portal import Portal, now
from .security import Tokens, client_address

PER_CLIENT = 5
"""Login attempts of one address in accept.WINDOW."""

MOST_SESSIONS = 500
"""The page shows this many of the newest; `ctwsgi-portal sessions list` shows all."""
MOST_DESTINATIONS = 20

_DAY = 86400


def create_admin(portal: Portal, app: Flask, admin: Admin) -> Blueprint:
    """The pages at /admin of the portal's URL."""
    app.secret_key = portal.derived("admin session")
    app.config.update(
        SESSION_COOKIE_NAME="portal-admin",
        SESSION_COOKIE_PATH="/admin",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=portal.secure,
    )
    pages = _AdminPages(portal, admin)
    blueprint = Blueprint("admin", __name__, url_prefix="/admin")
    blueprint.before_request(pages.only_allowed)
    blueprint.get("")(pages.overview)
    blueprint.post("/login")(pages.login)
    blueprint.post("/logout")(pages.logout)
    blueprint.post("/kick")(pages.kick)
    return blueprint


class _AdminPages:
    def __init__(self, portal: Portal, admin: Admin) -> None:
        self._portal = portal
        self._admin = admin
        self._tokens = Tokens(portal)
        # Every cookie has it, so that another password makes all cookies invalid.
        self._password = hashlib.sha256(admin.password_hash.encode()).hexdigest()[:16]

    def only_allowed(self) -> None:
        address = client_address()
        if not address or not any(ip_address(address) in net for net in self._admin.allow):
            abort(404)

    def overview(self) -> Response | str:
        """The page, or the login form."""
        if not self._logged_in():
            return self._login_form("")
        portal, at = self._portal, now()
        sessions = portal.store.snapshot().sessions
        return portal.pages.render(
            "admin.html",
            here="/admin",
            rows=[self._row(one, at) for one in reversed(sessions[-MOST_SESSIONS:])],
            total=len(sessions),
            destinations=portal.store.destinations(at - 7 * _DAY, MOST_DESTINATIONS),
            gateways=[(name, int(at - seen)) for name, seen in portal.store.gateways().items()],
            plot=plot(portal.store.history(at - HOURS * HOUR), at),
            kick=self._admin.kick,
            token=self._tokens.make("admin", session["name"]),
        )

    def login(self) -> Response | tuple[str, int]:
        """Answers to a form of overview()."""
        address = client_address()
        if not self._tokens.valid(request.form.get("token", ""), "admin login", address):
            return self._login_form("stale"), 400
        if not self._portal.store.attempt(f"admin/{address}", PER_CLIENT, WINDOW):
            return self._login_form("too_many"), 429
        known = hmac.compare_digest(
            request.form.get("user", "").encode(), self._admin.user.encode()
        )
        # The password is checked for a wrong user as well: the time must not show which is wrong.
        right = check_password(self._admin.password_hash, request.form.get("password", ""))
        if not (known and right):
            self._portal.note("admin login refused", address)
            return self._login_form("bad_password"), 403
        session.clear()
        session.update(name=secrets.token_hex(16), password=self._password, at=int(now()))
        self._portal.note("admin logged in", address)
        return redirect("/admin", 303)

    def logout(self) -> Response:
        """Answers to a form of overview()."""
        self._check_form()
        session.clear()
        return redirect("/admin", 303)

    def kick(self) -> Response:
        """Answers to a form of overview(), which is there with `kick = true` only."""
        self._check_form()
        if not self._admin.kick:
            abort(403)
        if self._portal.store.end(request.form.get("id", ""), "kicked"):
            self._portal.note("admin ended a session", client_address())
        return redirect("/admin", 303)

    def _check_form(self) -> None:
        if not self._logged_in():
            abort(403)
        if not self._tokens.valid(request.form.get("token", ""), "admin", session["name"]):
            abort(400)

    def _logged_in(self) -> bool:
        return (
            session.get("password") == self._password
            and isinstance(session.get("name"), str)
            and now() - session.get("at", 0) < self._admin.session
        )

    def _login_form(self, mistake: str) -> str:
        token = self._tokens.make("admin login", client_address())
        return self._portal.pages.render("login.html", here="/admin", mistake=mistake, token=token)

    def _row(self, one: Session, at: float) -> dict[str, object]:
        return {
            "id": one.grant.id,
            "network": one.grant.network,
            "addresses": one.usage.addresses,
            "mac": one.grant.mac or "",
            "method": one.grant.method,
            "who": one.grant.who,
            "since": time.strftime("%d %b %H:%M", time.localtime(one.grant.granted_at)),
            "left": language.duration(one.grant.expires_at - at, self._portal.pages.texts()),
            "used": language.size(one.usage.bytes),
        }
