# SPDX-License-Identifier: MIT
"""The languages of the pages, chosen by `?lang=` or Accept-Language. texts/ has a file for each."""

from __future__ import annotations

from pathlib import Path

from flask import request
from werkzeug.exceptions import HTTPException

from ..config.site import LANGUAGES
from ..config.toml import tomllib

TEXTS: dict[str, dict[str, str]] = {
    name: tomllib.loads((Path(__file__).parent / "texts" / f"{name}.toml").read_text("utf-8"))
    for name in LANGUAGES
}

TAGS = {"en": "en", "zh": "zh-Hans"}
"""BCP 47 tags for the html element. The Chinese texts are in simplified characters."""

NAMES = {"en": "English", "zh": "中文"}

_UNITS = ("B", "KB", "MB", "GB", "TB")


def carried(name: str) -> str:
    """A value that pages pass on, from the form or the query; '' when there is none.

    The error page for a form that is too large to read calls it as well, and must not fail again.
    """
    try:
        return request.values.get(name, "")
    except HTTPException:
        return request.args.get(name, "")


def choose(default: str) -> str:
    """The language of this request."""
    asked = carried("lang")
    if asked in LANGUAGES:
        return asked
    for tag, _ in request.accept_languages:
        primary = tag.lower().partition("-")[0]
        if primary in LANGUAGES:
            return primary
    return default


def duration(seconds: float, texts: dict[str, str]) -> str:
    """`7 h 59 min` in a language; less than a minute is shown as one minute."""
    minutes = max(1, int(seconds // 60))
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(days, "days"), (hours, "hours"), (minutes, "minutes")]
    return " ".join(texts[name].format(n=n) for n, name in parts if n)


def size(count: int) -> str:
    """Bytes in the decimal units of the configuration: 1.5 GB."""
    last = len(_UNITS) - 1
    power = next((p for p in range(last) if count < 999.5 * 1000**p), last)
    value = count / 1000**power
    return f"{value:.3g} {_UNITS[power]}" if value < 999.5 else f"{value:.0f} {_UNITS[power]}"
