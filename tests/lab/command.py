# SPDX-License-Identifier: MIT
"""A command that is run to its end, or to ours: interrupt the waiting, and it does not live on.

`subprocess.run` lets a child go that was begun when the signal came.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from .ending import undisturbed


def run_command(
    argv: Sequence[str],
    env: Mapping[str, str],
    text_in: str | None = None,
    deadline: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with its output captured. TimeoutExpired after `deadline` s.

    A session of its own keeps the terminal's Ctrl-C away: it ends when this process says so.
    """
    child: subprocess.Popen[str] | None = None
    try:
        with undisturbed():
            child = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL if text_in is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        out, err = child.communicate(text_in, deadline)
    except BaseException:
        if child:
            child.kill()
            child.wait()
        raise
    return subprocess.CompletedProcess(argv, child.returncode, out, err)
