# SPDX-License-Identifier: MIT
"""Fixtures: a store of each kind, and a portal as a real process on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ctwsgi_portal.state import Store, open_store
from werkzeug.security import generate_password_hash

from .serving import PortalProcess
from .stores import STORES, Unavailable


@pytest.fixture(params=sorted(STORES))
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh store, for each implementation."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(STORES[request.param](tmp_path))
        except Unavailable as e:
            pytest.skip(str(e))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A fresh store, for each implementation."""
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalProcess]:
    """One portal for all tests of a module that need no settings of their own."""
    with PortalProcess(tmp_path_factory.mktemp("portal")) as running:
        yield running


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalProcess]:
    """A portal with all three methods and an admin page."""
    users = f'[users]\nalice = "{generate_password_hash("correct horse")}"\n'
    admin = (
        f'[admin]\npassword_hash = "{generate_password_hash("operator")}"\n'
        'allow = ["127.0.0.0/8"]\n'
    )
    with PortalProcess(
        tmp_path_factory.mktemp("doors"),
        methods='["click", "voucher", "password"]',
        extra=users + admin,
    ) as running:
        yield running
