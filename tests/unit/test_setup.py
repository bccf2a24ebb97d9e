# SPDX-License-Identifier: MIT
"""tests/setup in a folder of its own: what it says and returns when a step cannot be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up reads before it installs anything."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "setup", tmp_path / "tests")
    return tmp_path


def python(folder: Path, mistake: str) -> Path:
    """A Python that does all but make environments: it does `mistake` instead."""
    path = folder / "python"
    path.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "-m venv" ] || exec {sys.executable} "$@"\n{mistake}\n'
    )
    path.chmod(0o755)
    return path


def set_up(checkout: Path, target: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "tests" / "setup", target],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_unknown_target(checkout: Path) -> None:
    done = set_up(checkout, "nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: tests/setup {demo|test|")


def test_no_such_python(checkout: Path) -> None:
    done = set_up(checkout, "lint", PYTHON="no-such-python")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("set-up failed: no-such-python is not here. ")


def test_a_step_that_fails_is_named_with_its_last_words(checkout: Path) -> None:
    mistake = "echo WARNING: pip is old; echo the disk is full >&2; exit 7"
    done = set_up(checkout, "lint", PYTHON=str(python(checkout, mistake)))
    assert done.returncode == 1
    words, reason = done.stderr.splitlines()
    assert words == "    the disk is full"
    assert reason.startswith("set-up failed: .venv. ")
    assert "done" not in done.stdout


@pytest.mark.parametrize("change", ["folder", "python"])
def test_an_environment_of_another_place_is_made_again(checkout: Path, change: str) -> None:
    old = checkout / ".venv" / "bin" / "python"
    old.parent.mkdir(parents=True)
    old.symlink_to(sys.executable)
    prefix = f"{sys.version_info[0]} {sys.version_info[1]} {sys.base_prefix}"
    made_for = {"folder": f"/elsewhere\n{prefix}\n", "python": f"{checkout}\n3 9 /usr\n"}[change]
    (checkout / ".venv" / "made-for").write_text(made_for)
    mistake = "test -e .venv || echo nothing was left; exit 1"
    done = set_up(checkout, "lint", PYTHON=str(python(checkout, mistake)))
    assert "    nothing was left\n" in done.stderr


def test_the_second_waits_for_the_first(checkout: Path) -> None:
    """The first is held in a step by a pipe; the second says that it waits, and then goes on."""
    gate = checkout / "gate"
    os.mkfifo(gate)
    held = python(checkout, "cat gate; exit 1")
    command, environ = [checkout / "tests" / "setup", "lint"], {**os.environ, "PYTHON": str(held)}
    first = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    opened = gate.open("w")  # returns once the first reads
    second = subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert second.stdout is not None
    assert second.stdout.readline() == "set-up: waits for another set-up in this folder\n"
    assert first.poll() is None
    opened.close()
    assert first.wait(30) == 1
    threading.Thread(target=lambda: gate.open("w").close()).start()
    assert second.wait(30) == 1
    second.stdout.close()
