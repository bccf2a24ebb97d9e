# SPDX-License-Identifier: MIT
"""gevent patches before the application is imported, and reloading works under gevent."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.lab.wait import until

from .served import Served

# An application that binds names at import, which would be unpatched if it came too early.
TOUCHY = """
import json, os, queue, subprocess, ssl, sys, threading, time
from ssl import SSLContext
from threading import Lock, Thread
from time import sleep

import gevent, gevent.ssl, gevent.queue
import requests, urllib3.util.ssl_

CONTEXT = ssl.create_default_context()
CONTEXT.minimum_version = ssl.TLSVersion.TLSv1_2  # RecursionError when patched too late
LOCK = Lock()
RAN = []
AT_IMPORT = Thread(target=RAN.append, args=("thread",), daemon=True)
AT_IMPORT.start()
AT_IMPORT.join()

PATCHED = {
    "ssl": SSLContext is gevent.ssl.SSLContext,
    "requests": urllib3.util.ssl_.SSLContext is gevent.ssl.SSLContext,
    "context": isinstance(CONTEXT, gevent.ssl.SSLContext),
    "lock": type(LOCK).__module__.startswith("gevent"),
    "sleep": sleep is gevent.sleep,
    "queue": queue.Queue is gevent.queue.Queue,
    "thread at import": RAN == ["thread"],
}

def app(environ, start_response):
    if environ["PATH_INFO"] == "/nested":
        url = "http://127.0.0.1:%s/" % environ["SERVER_PORT"]
        threads = [Thread(target=lambda: results.put(requests.get(url).json())) for _ in range(3)]
        results = queue.Queue()
        for t in threads: t.start()
        body = [results.get() for _ in threads]
    elif environ["PATH_INFO"] == "/child":
        ran = subprocess.run([sys.executable, "-c", "print('out'); raise SystemExit(7)"],
                             capture_output=True, text=True)
        pid = os.fork()
        if pid == 0:
            os._exit(5)
        body = [ran.returncode, ran.stdout, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
    else:
        body = PATCHED
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
"""

MODES = {
    "plain": [],
    "preload": ["--preload"],
    "reload": ["--reload"],
    "preload, reload": ["--preload", "--reload"],
}
REPRESENTATIVE = {("plain", False), ("reload", False), ("preload", True)}
"""Modes, and whether under gunicorn, that `make test` runs."""


@pytest.mark.parametrize(
    ("mode", "gunicorn"),
    [
        pytest.param(
            mode,
            gunicorn,
            id=f"{mode}-{'gunicorn' if gunicorn else 'serve'}",
            marks=() if (mode, gunicorn) in REPRESENTATIVE else pytest.mark.full,
        )
        for mode in MODES
        for gunicorn in (False, True)
    ],
)
def test_the_application_gets_the_patched_modules(
    mode: str, gunicorn: bool, tmp_path: Path
) -> None:
    with Served(tmp_path, *MODES[mode], app=TOUCHY, gunicorn=gunicorn) as served:
        status, body = served.get()
        assert status == 200, served.log
        patched = json.loads(body)
        assert patched == dict.fromkeys(patched, True)
        # The process sends requests to itself in threads, which only works with greenlets.
        assert json.loads(served.get("/nested")[1]) == [patched] * 3
        assert json.loads(served.get("/child")[1]) == [7, "out\n", 5]
        assert "MonkeyPatchWarning" not in served.log
        assert "Warning" not in served.log


def test_a_config_file_is_read_after_patching(tmp_path: Path) -> None:
    """It may import modules that patching must precede, as a hook that uses requests does."""
    (tmp_path / "gunicorn.conf.py").write_text("import requests, ssl, threading\n")
    with Served(tmp_path, app=TOUCHY) as served:
        patched = json.loads(served.get()[1])
        assert patched == dict.fromkeys(patched, True)
        assert "Warning" not in served.log


def answering(text: str) -> str:
    return f"def app(environ, start):\n    start('200 OK', [])\n    return [{text}]\n"


class Source:
    """An application file, whose mtime grows with each version, for the reloader and .pyc files.

    The reloader reads the mtimes before the worker serves, so it sees a change after an answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.time = time.time()

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.time += 2
        os.utime(self.path, (self.time, self.time))


@pytest.mark.parametrize("gunicorn", [False, True], ids=["serve", "gunicorn"])
def test_a_syntax_error_under_reload_recovers_when_mended(gunicorn: bool, tmp_path: Path) -> None:
    source = Source(tmp_path / "app.py")
    source.write(answering("b'one'"))
    with Served(tmp_path, "--reload", app=None, gunicorn=gunicorn) as served:
        assert served.get() == (200, b"one")
        assert "Reloader is on" in served.log
        source.write("def app(:\n")
        until(lambda: served.get()[0] == 500, "the broken application")
        assert b"SyntaxError" in served.get()[1]
        source.write(answering("b'mended'"))
        until(lambda: served.get() == (200, b"mended"), "the mended application")


def test_a_syntax_error_at_the_start_recovers_when_mended(tmp_path: Path) -> None:
    source = Source(tmp_path / "app.py")
    source.write("def app(:\n")
    with Served(tmp_path, "--reload", app=None) as served:
        assert served.get()[0] == 500
        source.write(answering("b'mended'"))
        until(lambda: served.get() == (200, b"mended"), "the mended application")
