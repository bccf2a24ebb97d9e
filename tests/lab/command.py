# SPDX-License-Identifier: MIT
"""Runs a command to its end. When a signal interrupts the wait, the command is killed.

`subprocess.run` would not notice the signals of ending.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from .ending import undisturbed
from .wait import until_ended


def run_command(
    argv: Sequence[str],
    env: Mapping[str, str],
    text_in: str | None = None,
    deadline: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with its output captured. TimeoutExpired after `deadline` s."""
    with ExitStack() as files:
        # Files, not pipes: nothing has to be read or written while the command runs, and a process
        # that it leaves behind does not hold its output open.
        out, err = (files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
        stdin: IO[str] | int = subprocess.DEVNULL
        if text_in is not None:
            stdin = files.enter_context(tempfile.TemporaryFile("w+"))
            stdin.write(text_in)
            stdin.seek(0)
        with started(argv, env, stdin, out, err) as child:
            if not until_ended(child, deadline):
                raise subprocess.TimeoutExpired(argv, deadline or 0)
        return subprocess.CompletedProcess(argv, child.returncode, _text(out), _text(err))


@contextmanager
def started(
    argv: Sequence[str],
    env: Mapping[str, str],
    stdin: IO[str] | int,
    stdout: IO[str] | int,
    stderr: IO[str] | int,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is killed with its session when an exception leaves the `with`.

    Its own session keeps the terminal's Ctrl-C away from it: this process says when it ends.
    """
    child = subprocess.Popen(
        argv, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    try:
        yield child
    except BaseException:
        with undisturbed():
            kill(child)
        raise


def kill(child: subprocess.Popen[bytes]) -> None:
    """Kills the child's session and reaps the child."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        if not until_ended(child):
            raise TimeoutError(f"process {child.pid} does not end on SIGKILL")


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
