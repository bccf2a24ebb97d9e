# SPDX-License-Identifier: MIT
"""A process in the lab: it keeps the output, can be waited for, and ends with the lab."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .command import kill
from .wait import DEADLINE, until, until_ended

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)


class Process:
    """Runs `argv`, which enters the network namespace with inode `namespace`.

    Error messages about it begin with `label`. Its own session keeps the terminal's Ctrl-C away
    from it: the lab says when it ends. Standard output and error go to one unnamed file, because a
    pipe that nobody reads blocks the process once it is full.
    """

    def __init__(
        self, argv: Sequence[str], namespace: int, env: Mapping[str, str], label: str
    ) -> None:
        self._label = label
        self._namespace = namespace
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._popen = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def log(self) -> str:
        """All that it has written so far."""
        # pread, because a read would move the offset, which the process shares.
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    def wait_log(self, text: str, since: int = 0, deadline: float = DEADLINE) -> None:
        """Waits until its output contains `text` behind the first `since` characters."""
        self._until(lambda: text in self.log()[since:], f"{text!r} in the output", deadline)

    def wait_listening(self, *ports: int, deadline: float = DEADLINE) -> None:
        """Waits until its network namespace has a TCP listener at each of the ports."""
        wanted = set(ports)
        self._until(lambda: wanted <= self._listening(), f"listeners at {ports}", deadline)

    def signal(self, number: int) -> None:
        """Sends a signal to the process itself, not to its children."""
        self._popen.send_signal(number)

    def wait(self) -> int:
        """Waits until it ends by itself. Gives the exit status."""
        until_ended(self._popen, None)
        return self._popen.returncode

    def stop(self, deadline: float = 10.0) -> int:
        """SIGTERM, and SIGKILL for the whole session after `deadline` s. Gives the exit status."""
        self._popen.terminate()
        if not until_ended(self._popen, deadline):
            kill(self._popen)
        return self._popen.returncode

    def _until(self, event: Callable[[], bool], what: str, deadline: float) -> None:
        def reached() -> bool:
            # First the event: the process may have reached it and then ended.
            if event():
                return True
            if self.returncode is not None:
                raise RuntimeError(
                    f"{self._label}: ended with {self.returncode} before {what}:\n{self.log()}"
                )
            return False

        try:
            until(reached, what, deadline)
        except TimeoutError as e:
            raise TimeoutError(f"{self._label}: {e}; its output:\n{self.log()}") from None

    def _listening(self) -> set[int]:
        base = Path("/proc", str(self.pid))
        try:
            # Until nsenter has entered it, /proc/PID/net shows the namespace of the caller.
            if (base / "ns/net").stat().st_ino != self._namespace:
                return set()
            rows = [row.split() for tcp in ("tcp", "tcp6") for row in _rows(base / "net" / tcp)]
        except OSError:
            return set()
        return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTEN}


def _rows(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:]
