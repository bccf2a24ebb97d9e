# SPDX-License-Identifier: MIT
"""A link for each test file, a field for each test; skips where there is no root, nft or ip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .field import Field
from .link import Link


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    if not (shutil.which("nft") and shutil.which("ip")):
        pytest.skip("needs nft and ip (iproute2)")
    with ExitStack() as stack:
        yield Link(stack)


@pytest.fixture
def field(link: Link, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        stack.callback(link.clear)
        yield Field(link, stack, tmp_path)
