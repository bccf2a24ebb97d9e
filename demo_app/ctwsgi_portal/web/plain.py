# SPDX-License-Identifier: MIT
"""Answers of one line of plain text, for programs."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import HTTPException


def plain_text(status: int, line: str) -> Response:
    return Response(line + "\n", status, mimetype="text/plain")


def plain_error(error: HTTPException) -> Response:
    """The answer to a request that Flask refuses, of an unknown path for example."""
    return plain_text(error.code or 500, f"{error.code} {error.name}")
