# SPDX-License-Identifier: MIT
"""Renders pages from templates. Each has the style sheet inside, so that a page fetches nothing.

A theme is a folder whose templates and style.css replace the built-in files of the same name.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, render_template
from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup

from ..config import Config, ConfigError
from . import language

_HERE = Path(__file__).parent


class Pages:
    """Templates and style sheet. ConfigError when the theme's folder does not exist."""

    def __init__(self, config: Config) -> None:
        self._config = config
        theme = Path(config.portal.theme) if config.portal.theme else None
        if theme and not theme.is_dir():
            raise ConfigError(f"[portal] theme: there is no folder {theme}")
        own = theme / "style.css" if theme else None
        self._style = (own if own and own.exists() else _HERE / "style.css").read_text("utf-8")
        digest = hashlib.sha256(self._style.encode()).digest()
        self.style_hash = f"sha256-{base64.b64encode(digest).decode()}"
        """For style-src in the CSP: it allows this style sheet only."""
        self._folders = [str(f) for f in (theme, _HERE / "templates") if f]

    def attach(self, app: Flask) -> None:
        """Lets `app` render the templates."""
        app.jinja_env.loader = ChoiceLoader([FileSystemLoader(f) for f in self._folders])
        app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
        app.after_request(_tell_language)

    def render(self, template: str, here: str = "/", **values: Any) -> str:
        """The page in the request's language. Templates read the texts of the language in `t`.

        `here` is the path of the same page, for the links to other languages.
        """
        chosen = language.choose(self._config.portal.language)
        g.language = language.TAGS[chosen]
        return render_template(
            template,
            t=language.TEXTS[chosen],
            lang=chosen,
            tag=language.TAGS[chosen],
            languages=language.NAMES,
            # It is safe without escaping: it is the project's file, or the operator's.
            style=Markup(self._style),
            here=here,
            site=self._config.portal.name,
            to=language.carried("to"),
            **values,
        )

    def terms(self) -> list[str]:
        """The paragraphs of the terms in the request's language, or in the default one."""
        terms = self._config.terms
        chosen = language.choose(self._config.portal.language)
        text = terms.get(chosen) or terms.get(self._config.portal.language) or ""
        return [p.strip() for p in text.split("\n\n") if p.strip()]

    def texts(self) -> dict[str, str]:
        """The texts in the request's language."""
        return language.TEXTS[language.choose(self._config.portal.language)]


def _tell_language(response: Response) -> Response:
    if "language" in g:
        response.headers["Content-Language"] = g.language
        response.headers["Vary"] = "Accept-Language"
    return response
