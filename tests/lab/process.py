# SPDX-License-Identifier: MIT
"""A process in the lab: its output is kept, what it reaches is waited for, it ends with the lab."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .wait import DEADLINE, until

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)


class Process:
    """Runs `argv` in the network namespace with inode `namespace`, leader of its own session.

    `label` is what complaints about it begin with.

    A session of its own keeps the terminal's Ctrl-C away: the lab says when a process ends.
    Standard output and error go to one unnamed file, so that nothing ever blocks on a full pipe.
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
        # pread: the offset belongs to the open file, which the process shares.
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    def wait_log(self, text: str, since: int = 0, deadline: float = DEADLINE) -> None:
        """Until its output contains `text` behind the first `since` characters."""
        self._until(lambda: text in self.log()[since:], f"{text!r} in the output", deadline)

    def wait_listening(self, *ports: int, deadline: float = DEADLINE) -> None:
        """Until a TCP listener stands at each of the ports in its network namespace."""
        wanted = set(ports)
        self._until(lambda: wanted <= self._listening(), f"listeners at {ports}", deadline)

    def signal(self, number: int) -> None:
        """To the process itself, not to its children."""
        self._popen.send_signal(number)

    def wait(self) -> int:
        """Until it ends by itself. Gives the exit status."""
        return self._popen.wait()

    def stop(self, deadline: float = 10.0) -> int:
        """SIGTERM, and SIGKILL for the whole session after `deadline` s. Gives the exit status."""
        self._popen.terminate()
        try:
            return self._popen.wait(deadline)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            return self._popen.wait(deadline)

    def _until(self, event: Callable[[], bool], what: str, deadline: float) -> None:
        def reached() -> bool:
            # Ask the event first: a process may have done it and ended.
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
