# SPDX-License-Identifier: MIT
"""What the tests of `ctwsgi.wire` share: outcomes that can be compared, and the vector files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ctwsgi.errors import OriginError, Reason
from ctwsgi.wire import proxy

VECTORS = Path(__file__).parent / "vectors"

Outcome = tuple[proxy.Header, int] | Reason | None
"""What a decoder made of some bytes: header and size, why they were refused, or incomplete."""


def outcome(data: Any, **options: Any) -> Outcome:
    """One call. Anything but OriginError escapes and fails the test."""
    try:
        return proxy.decode(data, **options)
    except OriginError as e:
        return e.reason


def outcome_in_pieces(data: bytes, cuts: Iterable[int], **options: Any) -> tuple[Outcome, int]:
    """As a receiver does it: ask again with each longer prefix. Also how much it took to decide."""
    for cut in [*sorted(cuts), len(data)]:
        found = outcome(data[:cut], **options)
        if found is not None:
            return found, cut
    return None, len(data)


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text("ascii"))
