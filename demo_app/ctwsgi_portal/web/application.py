# SPDX-License-Identifier: MIT
"""The WSGI application that `ctwsgi-portal run` serves on all listeners.

It knows the role of a request by SERVER_PORT: each listener has a port of its own, and no header
can change this value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from gunicorn.errors import AppImportError
from werkzeug.exceptions import HTTPException

from ..config import Config, ConfigError
from ..state import StoreError, lazy_store
from ..state.secret import SecretError, read_secret
from .admin import create_admin
from .api import create_api
from .portal import Portal
from .redirected import create_redirected
from .security import App, refuse_other_names
from .splash import create_splash
from .upkeep import start_upkeep

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def create(config: Config) -> WSGIApplication:
    """AppImportError, which gunicorn shows in one line. A store may be away at this time."""
    try:
        secret = read_secret(config.portal.secret_file)
        portal = Portal(config, lazy_store(config.portal.store), secret)
    except (ConfigError, SecretError) as e:
        raise AppImportError(str(e)) from None
    start_upkeep(portal)
    return ByListener(portal)


class ByListener:
    """Calls the application of the listener's port."""

    def __init__(self, portal: Portal) -> None:
        listen = portal.config.listen
        self._apps: dict[str, Flask] = {
            str(listen.redirected.port): create_redirected(portal),
            str(listen.portal.port): create_portal(portal),
        }
        if listen.api:
            self._apps[str(listen.api.port)] = create_api(portal)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # KeyError: a listener that the configuration does not have must not serve anything.
        return self._apps[environ["SERVER_PORT"]](environ, start_response)


def create_portal(portal: Portal) -> Flask:
    """The portal's own pages."""
    app = App(__name__, portal)
    refuse_other_names(app, portal)
    portal.pages.attach(app)
    app.register_blueprint(create_splash(portal))
    if portal.config.admin:
        app.register_blueprint(create_admin(portal, app, portal.config.admin))

    @app.errorhandler(HTTPException)
    def page_error(error: HTTPException) -> tuple[str, int]:
        return _error(portal, error.code or 500)

    @app.errorhandler(StoreError)
    def store_error(error: StoreError) -> tuple[str, int]:
        portal.log.error("%s", error)
        return _error(portal, 503)

    return app


def _error(portal: Portal, status: int) -> tuple[str, int]:
    texts = portal.pages.texts()
    text = texts.get(f"error_{status}", texts["error"])
    page = portal.pages.render("error.html", text=text, url=f"{portal.url()}/")
    return page, status
