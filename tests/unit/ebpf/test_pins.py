# SPDX-License-Identifier: MIT
"""The folder of all pins is locked only if it is a folder of root's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctwsgi.ebpf import pins as module
from ctwsgi.ebpf.errors import InjectorError


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ctwsgi"
    monkeypatch.setattr(module, "ALL_PINS", path)
    return path


def refusal() -> str:
    with pytest.raises(InjectorError) as refused, module.alone():
        pass
    return str(refused.value)


def test_it_is_made_for_its_owner_only(pins: Path) -> None:
    with module.alone():
        assert pins.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_open_is_closed_to_them(pins: Path) -> None:
    pins.mkdir(0o755)
    with module.alone():
        assert pins.stat().st_mode & 0o777 == 0o700


def test_a_link_and_a_file_are_refused(pins: Path) -> None:
    pins.symlink_to("/")
    assert refusal().endswith(f": rm {pins}")
    pins.unlink()
    pins.touch()
    assert refusal().endswith(f": rm {pins}")


def test_a_folder_of_somebody_else_is_refused(pins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins.mkdir()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert refusal() == f"{pins} belongs to another user: rm -r {pins}"
