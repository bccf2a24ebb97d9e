# SPDX-License-Identifier: MIT
"""The gateway of a case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .gateway import Gateway


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway between a client and a server, without the program."""
    with Gateway() as gateway:
        yield gateway
