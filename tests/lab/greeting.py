# SPDX-License-Identifier: MIT
"""Greets every visitor with the address that they dialled.

    ctwsgi serve --source conntrack tests.lab.greeting:app

Every host, path and method gets the connection's origin. The Accept header, `?format=`, or the
paths /json and /text choose JSON, plain text or a page. A `nonce` in the query or the form body
comes back in the JSON, so that a caller can tell its answer from another's.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from ctwsgi.flask import origin
from ctwsgi.wire.address import show

# In the order of preference: `Accept: */*`, which curl sends, gets the first, text.
_FORMATS = {"text/plain": "text", "text/html": "html", "application/json": "json"}

_HEADERS = {
    # The answer holds for this connection only, so no cache may store it.
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


def create_app() -> Flask:
    """An application that tells each visitor where the connection was going."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    # Instead of routes, because a redirected visitor may ask for any path, `//` included.
    app.before_request(greet)
    app.after_request(_add_headers)
    app.register_error_handler(HTTPException, _plain_error)
    return app


def greet() -> Response:
    """The answer to every request."""
    facts = {
        "orig_dst": origin.orig_dst,
        "orig_src": origin.orig_src,
        "source": origin.source,
        "verified": origin.verified,
        # The client chooses it; it is shown, and used for nothing.
        "host": request.headers.get("Host"),
        "nonce": request.values.get("nonce"),
    }
    wanted = _wanted_format()
    if wanted == "json":
        return jsonify(facts)
    if wanted == "text":
        return Response(_as_text(facts), mimetype="text/plain")
    return Response(render_template("greeting.html", **_as_words(facts)))


def _wanted_format() -> str:
    asked = request.args.get("format", request.path.lstrip("/"))
    if asked in _FORMATS.values():
        return asked
    return _FORMATS[request.accept_mimetypes.best_match(list(_FORMATS), default="text/plain")]


def _as_words(facts: dict[str, Any]) -> dict[str, str | None]:
    """The facts in words."""
    return {
        "destination": _show(facts["orig_dst"]),
        "visitor": _show(facts["orig_src"]) or "not known",
        "source": facts["source"],
        "verified": "yes" if facts["verified"] else "no",
        "host": facts["host"] or "none",
    }


def _as_text(facts: dict[str, Any]) -> str:
    words = _as_words(facts)
    destination = words.pop("destination")
    greeting = f"You were going to {destination}." if destination else "You came straight to me."
    return "".join([greeting, "\n", *(f"{name}: {word}\n" for name, word in words.items())])


def _show(address: tuple[str, int] | None) -> str | None:
    return show(*address) if address else None


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


def _plain_error(error: HTTPException) -> Response:
    # Not werkzeug's page, so that all HTML comes from one template.
    return Response(f"{error.code} {error.name}\n", status=error.code, mimetype="text/plain")


app = create_app()
