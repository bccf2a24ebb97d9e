# SPDX-License-Identifier: MIT
"""A session as JSON and back: the form in which a store keeps changes and ended sessions."""

from __future__ import annotations

import json
from dataclasses import asdict

from .records import Grant, Session, Usage


def encode(session: Session) -> str:
    """One line of JSON."""
    return json.dumps(asdict(session), ensure_ascii=False, separators=(",", ":"))


def decode(text: str) -> Session:
    """The reverse of encode(); ValueError, KeyError or TypeError for another text."""
    fields = json.loads(text)
    usage = fields["usage"]
    return Session(Grant(**fields["grant"]), Usage(int(usage["bytes"]), tuple(usage["addresses"])))
