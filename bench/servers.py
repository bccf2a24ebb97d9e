# SPDX-License-Identifier: MIT
"""Starts a side as a process on loopback, checks that it works, and stops it."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from .build import ROOT
from .loadgen import Loadgen
from .netns import DIALLED, Namespace, NamespaceError
from .sides import Side

START_SECONDS = 20.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05


class NotHere(Exception):
    """The side cannot run on this machine; the text says why."""


class ServerError(Exception):
    """The side did not start, or answers wrongly; the text says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A running side. `directory` has its log and the keys of all sides."""

    def __init__(self, side: Side, directory: Path, extra: tuple[str, ...] = ()) -> None:
        if side.package and importlib.util.find_spec(side.package) is None:
            raise NotHere(f"{side.package} is not installed")
        self.side = side
        self.port = free_port()
        self._log = directory / f"{side.name}.log"
        self._namespace = self._redirect()
        command = self._inside(
            word.format(port=self.port, keys=directory / "keys") for word in (*side.command, *extra)
        )
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        host, port = DIALLED if side.in_namespace else ("127.0.0.1", self.port)
        self.loadgen = Loadgen(side.origin, host, port, self._inside, directory)

    def _redirect(self) -> Namespace | None:
        if not self.side.in_namespace:
            return None
        try:
            return Namespace(self.side.origin, self.port)
        except NamespaceError as e:
            raise NotHere(str(e)) from None

    def _inside(self, command: Iterable[str]) -> list[str]:
        words = list(command)
        return self._namespace.entering(words) if self._namespace else words

    def wait_ready(self) -> None:
        """Waits until a request is answered with the expected origin."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            run = self.loadgen.run(
                "--requests", "1", "--connections", "1", "--path", "/origin",
                expect=self.side.expected_origin, seconds=5,
            )  # fmt: skip
            if run.faultless:
                return
            if self.process.poll() is not None:
                raise ServerError(f"ended with status {self.process.returncode}: {self.said()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{run.fault} when asked for its origin; {self.said()}")
            time.sleep(POLL_SECONDS)

    def said(self) -> str:
        """The end of the server's log, as one line."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"log: {lines[-1].strip()}" if lines else "its log is empty"

    def cpu_seconds(self) -> float:
        """utime + stime of the process tree, with children that have ended."""
        total = 0.0
        try:
            root = psutil.Process(self.process.pid)
            for process in (root, *root.children(recursive=True)):
                total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            raise ServerError(f"a process of the server went away; {self.said()}") from None
        return total

    def stop(self) -> None:
        """Sends SIGTERM to the server, and SIGKILL to its session if that does not end it."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            if self._namespace:
                self._namespace.close()
