# SPDX-License-Identifier: MIT
"""The Date header, formatted once a second (RFC 9110, 6.6.1)."""

from __future__ import annotations

import time
from email.utils import formatdate

_second = -1
_line = ""


def date_line() -> str:
    """`Date: ...\\r\\n` of now."""
    global _second, _line
    now = int(time.time())
    if now != _second:
        _second = now
        _line = f"Date: {formatdate(now, usegmt=True)}\r\n"
    return _line
