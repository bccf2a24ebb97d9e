# SPDX-License-Identifier: MIT
"""A Flask app with OriginMiddleware under a server of choice, as a process, and its client."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ctwsgi.wire.address import show
from tests import ROOT
from tests.lab.wait import DEADLINE

APP = """
import json, os
from flask import Flask, jsonify, request
from ctwsgi.flask import origin
from ctwsgi.middleware import OriginMiddleware

app = Flask(__name__)
app.wsgi_app = OriginMiddleware(app.wsgi_app, **json.loads(os.environ["OPTIONS"]))

@app.get("/")
def where():
    e = request.environ
    assert origin == e["ct.origin"]
    shown = ["ct.orig_dst", "ct.orig_src", "ct.source", "ct.verified", "REMOTE_ADDR", "REMOTE_PORT"]
    shown += ["SERVER_NAME", "SERVER_PORT", "HTTP_HOST"]
    return jsonify(redirected=bool(origin), **{key: e.get(key) for key in shown})
"""


def ask(sock: socket.socket, count: int = 1, **headers: str) -> list[tuple[int, Any]]:
    """`count` GETs on one connection: a list of (status, JSON or text)."""
    client = http.client.HTTPConnection("name.example", timeout=DEADLINE)
    client.sock = sock
    answers = []
    with contextlib.closing(client):
        for _ in range(count):
            assert client.sock is not None, "the server closed a keep-alive connection"
            client.request("GET", "/", headers=headers)
            response = client.getresponse()
            body = response.read()
            is_json = response.headers["Content-Type"] == "application/json"
            answers.append((response.status, json.loads(body) if is_json else body.decode()))
    return answers


def command(server: str, bind: tuple[str, int], *arguments: str) -> list[str]:
    """The command line of that server for the app at `bind` (ADDR, PORT)."""
    host, port = bind
    authority = show(host, port)
    if server == "flask-run":
        return [sys.executable, "-m", "flask", "--app", "where", "run", "-h", host, "-p", str(port)]
    if server == "ctwsgi-serve":
        serve = ["-m", "ctwsgi", "serve", "--bind", authority, "--source", "conntrack"]
        return [sys.executable, *serve, "where:app"]
    return [*gunicorn(server), "--bind", authority, *arguments, "where:app"]


def gunicorn(server: str) -> list[str]:
    worker = server.removeprefix("gunicorn-")
    return [sys.executable, "-m", "gunicorn", "--no-control-socket", "--worker-class", worker]


@contextlib.contextmanager
def running(
    command: list[str],
    directory: Path,
    options: dict[str, Any] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process in a directory with the app."""
    (directory / "where.py").write_text(APP)
    environ = dict(os.environ, PYTHONPATH=str(ROOT), OPTIONS=json.dumps(options or {}))
    environ.pop("GUNICORN_CMD_ARGS", None)
    with open(directory / "log", "ab") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=environ, stdout=log, stderr=log, pass_fds=pass_fds
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_accepting(
    process: subprocess.Popen[bytes], dial: Callable[[], socket.socket], log: Path
) -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            dial().close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise TimeoutError(log.read_text())
