# SPDX-License-Identifier: MIT
"""The access log: one line for each request, with the original destination at its end."""

from __future__ import annotations

import base64
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from gunicorn.config import Config

from ctwsgi.serving.accesslog import Logger, SafeAtoms, wants_access
from tests.lab.wait import until

from .served import DEADLINE, ECHO, Served

V1 = b"PROXY TCP4 192.0.2.1 198.18.0.1 5555 80\r\n"
V1_6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 5555 443\r\n"


def lines(path: Path, count: int) -> list[str]:
    def enough() -> list[str] | None:
        found = path.read_text().splitlines() if path.exists() else []
        return found if len(found) >= count else None

    found = until(enough, f"{count} lines in {path}")
    assert isinstance(found, list)
    assert len(found) == count
    return found


def test_a_line_ends_with_the_original_destination(tmp_path: Path) -> None:
    log = tmp_path / "access"
    args = ["--access-logfile", str(log), "--source", "{0}=proxy"]
    with Served(tmp_path, *args, listeners=2) as served:
        body = served.get("/a?b=c", before=V1, headers="User-Agent: me\r\n")[1]
        served.get(before=V1_6)
        served.get(listener=1)
        first, second, third = lines(log, 3)
    assert first.startswith("192.0.2.1 - - [")
    assert first.endswith(f'"GET /a?b=c HTTP/1.1" 200 {len(body)} "-" "me" 198.18.0.1:80')
    assert second.startswith("2001:db8::1 ")
    assert second.endswith(" [2001:db8::2]:443")
    assert third.endswith(" -")


def test_plain_gunicorn_has_it_in_an_environ_atom(tmp_path: Path) -> None:
    log = tmp_path / "access"
    args = ["--access-logfile", str(log), "--access-logformat", "%(s)s %({ct.orig_dst}e)s %(B)s"]
    with Served(tmp_path, *args, gunicorn=True, env={"CTWSGI_SOURCE": "proxy"}) as served:
        body = served.get(before=V1)[1]
        assert lines(log, 1) == [f"200 ('198.18.0.1', 80) {len(body)}"]


def test_a_format_of_ones_own_may_use_every_atom(tmp_path: Path) -> None:
    log = tmp_path / "access"
    form = "%(orig_dst)s %(m)s %(U)s %(q)s %({x-in}i)s %({content-type}o)s %({ct.source}e)s %(D)d"
    with Served(
        tmp_path, "--access-logfile", str(log), "--access-logformat", form, "--source", "proxy"
    ) as served:
        served.get("/p?q", before=V1, headers="X-In: value\r\n")
        (line,) = lines(log, 1)
    *shown, micros = line.split()
    assert shown == ["198.18.0.1:80", "GET", "/p", "q", "value", "application/json", "proxy"]
    assert int(micros) > 0


def test_clients_cannot_write_lines_of_their_own(tmp_path: Path) -> None:
    log = tmp_path / "access"
    form = '"%(U)s" "%(u)s" "%(a)s" "%(r)s"'
    user = base64.b64encode(b"eve\n6.6.6.6 - forged").decode()
    headers = f'Authorization: Basic {user}\r\nUser-Agent: a"b\\c\td\x9be\r\n'
    with Served(tmp_path, "--access-logfile", str(log), "--access-logformat", form) as served:
        assert served.get("/%0a%1b[2J%22%5c", headers=headers)[0] == 200
        (line,) = lines(log, 1)
    assert line == (
        r'"/\n\x1b[2J\"\\" "eve\n6.6.6.6 - forged" "a\"b\\c\td\x9be" '
        r'"GET /%0a%1b[2J%22%5c HTTP/1.1"'
    )


def test_refused_requests_and_failed_ones(tmp_path: Path) -> None:
    log = tmp_path / "access"
    failing = "def app(environ, start_response):\n    raise RuntimeError('no')\n"
    with Served(tmp_path, "--access-logfile", str(log), app=failing) as served:
        assert served.get()[0] == 500
        (line,) = lines(log, 1)
        assert '"GET / HTTP/1.1" 500 ' in line
        assert "RuntimeError: no" in served.log


def test_usr1_reopens_the_file(tmp_path: Path) -> None:
    log = tmp_path / "access"
    with Served(tmp_path, "--access-logfile", str(log)) as served:
        served.get()
        lines(log, 1)
        log.rename(tmp_path / "rotated")
        served.signal(signal.SIGUSR1)
        until(log.exists, "the new file")
        until(lambda: served.get()[0] == 200 and log.stat().st_size, "a line in it")


def test_statsd_gets_its_numbers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(DEADLINE)
        log = tmp_path / "access"
        address = "127.0.0.1:%d" % statsd.getsockname()[1]
        args = ["--statsd-host", address, "--access-logfile", str(log)]
        with Served(tmp_path, *args) as served:
            assert served.get()[0] == 200
            assert lines(log, 1)[0].endswith(" -")
            received = b""
            while b"gunicorn.request.status.200" not in received:
                received = statsd.recv(4096)


def test_errors_of_the_application_go_to_the_error_log(tmp_path: Path) -> None:
    log = tmp_path / "errors"
    app = ECHO.replace(
        "    start_response(",
        "    print('told', file=environ['wsgi.errors'])\n    start_response(",
        1,
    )
    with Served(tmp_path, "--error-logfile", str(log), app=app) as served:
        assert served.get()[0] == 200
        until(lambda: "told" in log.read_text(), "the line")


def test_atoms_are_escaped_and_numbers_stay_numbers() -> None:
    every = "".join(map(chr, range(256))) + "\u2028\u2029\u20ac"
    shown = SafeAtoms({"x": every})["x"]
    assert shown.isprintable() or "\xa0" in shown
    assert len(shown.splitlines()) == 1
    assert shown.endswith("\\u2028\\u2029\u20ac")
    atoms = SafeAtoms({"n": 5, "f": 0.5, "none": None, "t": ("a\n", 1)})
    assert (atoms["n"], atoms["f"], atoms["absent"], atoms["{h}i"]) == (5, 0.5, "-", "-")
    assert atoms["t"] == "('a\\\\n', 1)"


@pytest.fixture
def make_logger() -> Callable[..., Logger]:
    def make(**settings: object) -> Logger:
        config = Config()
        for name, value in settings.items():
            config.set(name, value)
        return Logger(config)

    return make


def test_nothing_is_built_when_nobody_reads(make_logger: Callable[..., Logger]) -> None:
    assert not wants_access(make_logger())
    assert wants_access(make_logger(accesslog="/dev/null"))
    assert wants_access(make_logger(logconfig_dict={"version": 1}))
    logging.getLogger("gunicorn.access").handlers.clear()
