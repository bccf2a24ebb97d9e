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
"""A decoder's result: header and size, the reason of a refusal, or incomplete."""


def outcome(data: Any, **options: Any) -> Outcome:
    """Calls the decoder once. Any exception but OriginError fails the test."""
    try:
        return proxy.decode(data, **options)
    except OriginError as e:
        return e.reason


def outcome_in_pieces(data: bytes, cuts: Iterable[int], **options: Any) -> tuple[Outcome, int]:
    """Calls the decoder with each longer prefix, as a receiver does.

    Also returns the length of the prefix that gave the result.
    """
    for cut in [*sorted(cuts), len(data)]:
        found = outcome(data[:cut], **options)
        if found is not None:
            return found, cut
    return None, len(data)


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text("ascii"))
