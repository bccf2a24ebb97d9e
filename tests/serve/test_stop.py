# SPDX-License-Identifier: MIT
"""Stopping, reloading and restarting: a request that has begun is answered."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.lab.streams import receive_until_closed
from tests.lab.wait import until

from .served import DEADLINE, ECHO, Served, answer, request

V1 = b"PROXY TCP4 192.0.2.1 198.18.0.1 5555 80\r\n"

# Answers /slow when the file `go` exists; /block stops the whole process.
SLOW = """
import os, time
import gevent.monkey

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("begun", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.02)
    if environ["PATH_INFO"] == "/block":
        gevent.monkey.get_original("time", "sleep")(600)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

LONG = ("--graceful-timeout", "600", "--keep-alive", "600")
"""Longer than any deadline here, so that waiting for one of them fails the test."""


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def idle_connection(served: Served) -> socket.socket:
    """A kept-alive connection whose request was answered."""
    sock = served.connect()
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    return sock


def test_a_begun_request_is_answered_and_idle_connections_close(tmp_path: Path) -> None:
    with Served(tmp_path, *LONG) as served, served.connect() as begun:
        begun.sendall(request()[:5])
        idle = idle_connection(served)  # accepted after `begun`, so the server is reading that
        served.signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        begun.sendall(request()[5:].replace(b"Connection: close\r\n", b""))
        data = receive_until_closed(begun)
        assert answer(data)[0] == 200
        assert b"connection: close" in data.lower()
        assert served.wait_exit() == 0
        assert "graceful timeout" not in served.log


def test_a_request_in_the_application_is_answered(tmp_path: Path) -> None:
    with Served(tmp_path, *LONG, app=SLOW) as served, served.connect() as begun:
        begun.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until((tmp_path / "begun").exists, "the application")
        idle = idle_connection(served)
        served.signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        (tmp_path / "go").touch()
        data = receive_until_closed(begun)
        assert answer(data)[0] == 200
        assert b"connection: close" in data.lower()
        assert served.wait_exit() == 0


def test_a_thousand_idle_connections_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    connections: list[socket.socket] = []
    try:
        with Served(tmp_path, *LONG, "--worker-connections", "2000") as served:
            connections += [idle_connection(served) for _ in range(500)]
            connections += [served.connect() for _ in range(500)]
            assert served.get()[0] == 200  # so all earlier connections were accepted
            served.signal(signal.SIGTERM)
            assert served.wait_exit() == 0
            assert "graceful timeout" not in served.log
    finally:
        for sock in connections:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_a_quick_stop_waits_for_nobody(number: int, tmp_path: Path) -> None:
    with Served(tmp_path, *LONG, app=SLOW) as served, served.connect() as begun:
        begun.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until((tmp_path / "begun").exists, "the application")
        served.signal(number)
        assert served.wait_exit() == 0
        assert answer(receive_until_closed(begun)) == (0, b"")


def test_a_quick_stop_cuts_a_graceful_one_short(tmp_path: Path) -> None:
    with Served(tmp_path, *LONG, app=SLOW) as served, served.connect() as begun:
        begun.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until((tmp_path / "begun").exists, "the application")
        served.signal(signal.SIGTERM)
        served.wait_log("Handling signal: term")
        served.signal(signal.SIGQUIT)
        assert served.wait_exit() == 0


def test_the_graceful_timeout_ends_what_does_not_end(tmp_path: Path) -> None:
    options = ["--graceful-timeout", "2"]
    with Served(tmp_path, *options, app=SLOW) as served, served.connect() as begun:
        begun.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until((tmp_path / "begun").exists, "the application")
        served.signal(signal.SIGTERM)
        assert served.wait_exit() == 0
        assert answer(receive_until_closed(begun)) == (0, b"")


class Load(threading.Thread):
    """Sends requests without pause, and records failures in `failed`."""

    def __init__(self, served: Served, keep_alive: bool) -> None:
        super().__init__(daemon=True)
        self.served, self.keep_alive = served, keep_alive
        self.answered, self.failed = 0, list[str]()
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                (self._kept if self.keep_alive else self._fresh)()
            except OSError as e:
                self.failed.append(repr(e))

    def _fresh(self) -> None:
        status, _ = self.served.get()
        if status == 200:
            self.answered += 1
        else:
            self.failed.append(f"status {status}")

    def _kept(self) -> None:
        """Requests on one connection, until the server announces that it closes it."""
        with self.served.connect() as sock:
            while not self.stop.is_set():
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                data = sock.recv(65536)
                if not data.startswith(b"HTTP/1.1 200"):
                    self.failed.append(f"kept alive: {data[:50]!r}")
                    return
                self.answered += 1
                if b"connection: close" in data.lower():
                    return


@pytest.mark.parametrize(
    "preload", [(), pytest.param(("--preload",), marks=pytest.mark.full)], ids=["", "preload"]
)
def test_twenty_reloads_under_load_refuse_nothing(preload: tuple[str, ...], tmp_path: Path) -> None:
    with Served(tmp_path, *LONG, "--workers", "2", *preload, app=SLOW) as served:
        served.get()
        loads = [Load(served, keep_alive=i == 0) for i in range(3)]
        for load in loads:
            load.start()
        for _ in range(20):
            before = served.workers()
            served.signal(signal.SIGHUP)
            until(
                lambda before=before: len(now := served.workers()) == 2 and not now & before,
                "new workers",
            )
        for load in loads:
            load.stop.set()
        for load in loads:
            load.join(DEADLINE)
        assert [load.failed for load in loads] == [[], [], []]
        assert all(load.answered > 20 for load in loads)
        served.signal(signal.SIGTERM)
        assert served.wait_exit() == 0
        assert "Traceback" not in served.log


def test_a_worker_ends_after_max_requests(tmp_path: Path) -> None:
    with Served(tmp_path, "--max-requests", "3", app=SLOW) as served:
        answers = [served.get() for _ in range(10)]
        assert [status for status, _ in answers] == [200] * 10
        assert len({pid for _, pid in answers}) >= 3
        served.wait_log("Autorestarting worker after 3 requests", 3)


def test_a_worker_without_its_master_ends(tmp_path: Path) -> None:
    with Served(tmp_path, *LONG) as served:
        served.get()
        (worker,) = served.workers()
        served.process.kill()
        served.process.wait()
        until(lambda: ended(worker), "the worker's end")
        assert "Parent changed" in served.log


def test_a_worker_that_blocks_is_replaced(tmp_path: Path) -> None:
    with Served(tmp_path, "--timeout", "4", app=SLOW) as served, served.connect() as stuck:
        first = served.get()[1]
        stuck.sendall(request("/block"))
        served.wait_log("WORKER TIMEOUT")
        status, second = served.get()
        assert status == 200
        assert second != first
        assert "Worker is blocked at:" in served.log
        assert 'get_original("time", "sleep")(600)' in served.log


def test_connections_beyond_the_cap_wait_their_turn(tmp_path: Path) -> None:
    with (
        Served(tmp_path, "--worker-connections", "2", *LONG) as served,
        idle_connection(served) as first,
        idle_connection(served),
        served.connect() as third,
    ):
        third.sendall(request())
        third.settimeout(0.5)
        with pytest.raises(TimeoutError):
            third.recv(1)
        first.close()
        third.settimeout(DEADLINE)
        assert answer(receive_until_closed(third))[0] == 200


HOOKED = """
import subprocess
def run(server): print(subprocess.run(["echo", "the hook ran"], capture_output=True), flush=True)
when_ready = on_reload = run
"""


@pytest.mark.parametrize("gunicorn", [False, True], ids=["serve", "gunicorn"])
def test_a_worker_that_dies_is_replaced(gunicorn: bool, tmp_path: Path) -> None:
    """The master replaces workers also after an application or a hook has run a child process."""
    (tmp_path / "gunicorn.conf.py").write_text(HOOKED)
    app = "import subprocess\nsubprocess.run(['true'])\n" + SLOW
    with Served(tmp_path, *LONG, "--preload", app=app, gunicorn=gunicorn) as served:
        for _ in range(3):
            pid = int(served.get()[1])
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: served.workers() - {pid}, "another worker")
        assert "the hook ran" in served.log
        served.signal(signal.SIGTERM)
        assert served.wait_exit() == 0


# The first worker waits in the hook until the file `go` exists.
BOOTING = """
import os, time

def post_fork(server, worker):
    if worker.age == 1:
        open("booting", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.02)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
@pytest.mark.parametrize("gunicorn", [False, True], ids=["serve", "gunicorn"])
def test_a_worker_that_boots_can_be_stopped(gunicorn: bool, number: int, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(BOOTING)
    with Served(tmp_path, *LONG, gunicorn=gunicorn) as served:
        until((tmp_path / "booting").exists, "the hook")
        (worker,) = served.workers()
        os.kill(worker, number)
        (tmp_path / "go").touch()
        served.wait_log(f"Worker exiting (pid: {worker})")
        served.wait_log("Booting worker", 2)
        assert served.get()[0] == 200
        served.signal(signal.SIGTERM)
        assert served.wait_exit() == 0


@pytest.mark.parametrize("module", [False, True], ids=["ctwsgi", "python -m"])
def test_usr2_starts_a_second_master_on_the_same_sockets(module: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    def ask() -> dict[str, object]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE)
            sock.connect(path)
            sock.sendall(V1 + request())
            status, body = answer(receive_until_closed(sock))
            assert status == 200
            return dict(json.loads(body))

    options = ["--bind", f"unix:{path}", "--source", f"unix:{path}=proxy"]
    with Served(tmp_path, *options, listeners=0, module=module, app=ECHO) as served:
        served.wait_log("Booting worker")
        first = ask()
        served.signal(signal.SIGUSR2)
        served.wait_log("Booting worker", 2)
        (new_master,) = (p for p in served.workers() if p != first["pid"])
        served.signal(signal.SIGTERM)
        assert served.wait_exit() == 0
        second = ask()
        assert second["pid"] != first["pid"]
        assert second["ct.orig_dst"] == ["198.18.0.1", 80]
        os.kill(new_master, signal.SIGTERM)
        until(lambda: ended(new_master), "the second master's end")
