# SPDX-License-Identifier: MIT
"""A session as JSON and back: what implementations store of changes and of ended sessions."""

from __future__ import annotations

import json
from dataclasses import asdict

from .records import Grant, Session, Usage


def encode(session: Session) -> str:
    """One line of JSON."""
    return json.dumps(asdict(session), ensure_ascii=False, separators=(",", ":"))


def decode(text: str) -> Session:
    """What encode() wrote; ValueError, KeyError or TypeError for anything else."""
    fields = json.loads(text)
    usage = fields["usage"]
    return Session(Grant(**fields["grant"]), Usage(int(usage["bytes"]), tuple(usage["addresses"])))
