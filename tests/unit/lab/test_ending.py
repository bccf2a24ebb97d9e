# SPDX-License-Identifier: MIT
"""tests/lab/ending.py: a signal ends a program in order, wherever it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from tests import ROOT

PREFIX = """
import os, signal, sys, time
from tests.lab.ending import end_in_order, undisturbed
end_in_order()
def told():
    os.kill(os.getpid(), {number})
"""


def run(body: str, number: int = signal.SIGTERM) -> subprocess.CompletedProcess[str]:
    text = PREFIX.format(number=int(number)) + textwrap.dedent(body)
    command = [sys.executable, "-c", text]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_every_with_is_left(number: int) -> None:
    done = run("try: told(); time.sleep(50)\nfinally: print('left')", number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "left\n", "")


def test_not_lost_in_a_finalizer() -> None:
    """Where Python prints an exception and goes on as if nothing had been."""
    done = run(
        """
        class Thing:
            def __del__(self):
                told()
                print("finalized")
        thing = Thing()
        del thing
        time.sleep(50)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "finalized\n", "")


def test_the_second_does_not_disturb_the_first() -> None:
    done = run("try: told(); time.sleep(50)\nfinally: told(); print('left')")
    assert (done.returncode, done.stdout, done.stderr) == (143, "left\n", "")


def test_it_waits_for_the_end_of_what_is_undisturbed() -> None:
    done = run("with undisturbed():\n    told(); print('done')\nprint('never')")
    assert (done.returncode, done.stdout, done.stderr) == (143, "done\n", "")


def test_ctrl_c_is_as_ever() -> None:
    done = run("try: told(); time.sleep(50)\nexcept KeyboardInterrupt: print('^C')", signal.SIGINT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "^C\n", "")
