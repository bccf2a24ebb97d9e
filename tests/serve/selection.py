# SPDX-License-Identifier: MIT
"""Which cases of a long table `make test` runs; each of them starts a server."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def only(kept: Collection[str], cases: Iterable[str]) -> list[Any]:
    """The cases as parameters, of which those that are not in `kept` are marked `full`."""
    unknown = set(kept) - set(cases)
    assert not unknown, f"no such case: {unknown}"
    return [case if case in kept else pytest.param(case, marks=pytest.mark.full) for case in cases]
