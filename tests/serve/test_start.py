# SPDX-License-Identifier: MIT
"""`ctwsgi serve` and `gunicorn -k`: sources of options, and errors that stop the start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.streams import receive_until_closed
from tests.lab.wait import until

from .selection import only
from .served import DEADLINE, ECHO, Served, answer, clean_environ, request

V1 = b"PROXY TCP4 192.0.2.1 198.18.0.1 5555 80\r\n"
ORIGIN = ["198.18.0.1", 80]


def seen(result: tuple[int, bytes]) -> dict[str, object]:
    status, body = result
    assert status == 200, result
    return dict(json.loads(body))


def test_the_default_source_is_none(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        app = seen(served.get(headers="X-Forwarded-For: 192.0.2.9\r\n"))
    assert app["ct.source"] == "none"
    assert app["ct.orig_dst"] is None
    assert app["wsgi.multiprocess"] is False
    assert str(app["SERVER_SOFTWARE"]).startswith("ctwsgi/")
    # The application gets the header, and the server ignores it.
    assert app["REMOTE_ADDR"] == "127.0.0.1"
    assert app["HTTP_X_FORWARDED_FOR"] == "192.0.2.9"


def test_several_workers_are_a_multiprocess_server(tmp_path: Path) -> None:
    with Served(tmp_path, "--workers", "2") as served:
        assert seen(served.get())["wsgi.multiprocess"] is True


WAYS = {
    "flag": {"args": ["--source", "proxy"]},
    "config file": {"config": "source = 'proxy'"},
    "config file, list": {"config": "source = ['proxy']"},
    "GUNICORN_CMD_ARGS": {"env": {"GUNICORN_CMD_ARGS": "--source proxy"}},
    "CTWSGI_SOURCE": {"env": {"CTWSGI_SOURCE": "proxy"}},
    "CTWSGI_SOURCE, gunicorn": {"env": {"CTWSGI_SOURCE": "proxy"}, "gunicorn": True},
    "file over environment": {"config": "source='proxy'", "env": {"CTWSGI_SOURCE": "none"}},
    "args over file": {"config": "source='none'", "env": {"GUNICORN_CMD_ARGS": "--source=proxy"}},
    "flag over args": {"args": ["--source=proxy"], "env": {"GUNICORN_CMD_ARGS": "--source=none"}},
    "for one listener": {"args": ["--source", "{0}=proxy", "--source", "none"]},
    "for one, environment": {"env": {"CTWSGI_SOURCE": "{0}=proxy none"}, "gunicorn": True},
}


@pytest.mark.parametrize(
    "way",
    only(
        (
            "flag",
            "config file",
            "GUNICORN_CMD_ARGS",
            "CTWSGI_SOURCE, gunicorn",
            "file over environment",
            "for one listener",
        ),
        WAYS,
    ),
)
def test_an_option_may_come_from(way: str, tmp_path: Path) -> None:
    how = WAYS[way]
    if "config" in how:
        (tmp_path / "gunicorn.conf.py").write_text(str(how["config"]))
    with Served(
        tmp_path, *how.get("args", ()), env=how.get("env"), gunicorn=how.get("gunicorn", False)
    ) as served:
        app = seen(served.get(before=V1))
    assert (app["ct.source"], app["ct.orig_dst"]) == ("proxy", ORIGIN)


def test_each_listener_has_its_own_source(tmp_path: Path) -> None:
    with Served(tmp_path, "--source", "{1}=proxy", listeners=2) as served:
        assert seen(served.get())["ct.source"] == "none"
        assert seen(served.get(listener=1, before=V1))["ct.orig_dst"] == ORIGIN
        assert served.get(listener=1) == (0, b"")
        assert served.get(before=V1)[0] == 501  # PROXY is no HTTP method


# Errors that stop the start: (arguments, a part of the one line that says why).
WRONG = {
    "unknown source": (["--source", "magic"], "--source magic: choose one of none, ctframe"),
    "two sources": (["--source=proxy", "--source=none"], "--source is given 2 times"),
    "no such bind": (
        ["--source", "127.0.0.1:1=proxy"],
        "no --bind is 127.0.0.1:1; there are fd://",
    ),
    "no bind at all": (["--source", "=proxy"], "'=proxy': neither WORD nor BIND=WORD"),
    "useless key": (["--auth-key-file", "k"], "--auth-key-file is for source proxy or proxy-v2"),
    "useless trust": (["--trust", "inline"], "--trust is for source ctframe or proxy"),
    "key of another listener": (
        ["--source=proxy", "--source={0}=conntrack", "--auth-key-file={0}=k"],
        "but here is source conntrack",
    ),
    "bad trust": (["--source=proxy", "--trust", "10.0.0.0/33"], "--trust takes networks"),
    "bad self": (["--source=tproxy", "--self", "here"], "'here' is neither ADDR nor ADDR:PORT"),
    "no key file": (["--source=proxy", "--auth-key-file=absent"], "absent"),
    "frames cannot be signed": (
        ["--source=ctframe", "--trust=inline", "--auth-key-file=k"],
        "--auth-key-file is for source proxy",
    ),
    "negative time": (["--origin-timeout=-1"], "not a number of seconds: -1"),
    "threads": (["--threads", "4"], "threads: a worker runs greenlets"),
    "two at once": (
        ["--threads=4", "--proxy-protocol=v2"],
        "proxy_protocol: use source proxy; thr",
    ),
    "their PROXY": (["--proxy-protocol", "v2"], "proxy_protocol: use source proxy"),
    "forwarded": (["--forwarded-allow-ips", "*"], "X-Forwarded-* headers are never read"),
    "their TLS": (["--cert-reqs", "2"], "cert_reqs: only --certfile and --keyfile"),
    "no keep-alive": (["--keep-alive", "0"], "keepalive 0"),
    "another worker": (["-k", "gevent"], "worker_class gevent: ctwsgi serve brings its own"),
    "inotify": (["--reload", "--reload-engine=inotify"], "reload_engine inotify"),
    "control socket": (["--control-socket", "x"], "the control socket is off"),
    "TLS behind a header": (
        ["--source=proxy", "--certfile=cert.pem"],
        "--certfile cert.pem: TLS needs source none, not proxy",
    ),
    "no such certificate": (["--certfile=absent.pem"], "TLS certificate in absent.pem"),
    "key without certificate": (["--keyfile=key.pem"], "--keyfile key.pem lacks its --certfile"),
    "unknown flag": (["--sauce", "proxy"], "unrecognized arguments: --sauce"),
    "mixed binds": (["--bind=127.0.0.1:0"], "fd:// does not mix with addresses"),
}


def assert_stopped_with_one_line(served: Served, line: str) -> None:
    status = served.wait_exit()
    log = served.log
    assert status > 0, log
    assert line in log
    assert "Traceback" not in log
    assert log.count("Booting worker") == 0


@pytest.mark.parametrize(
    "case",
    only(
        (
            "unknown source",
            "no such bind",
            "useless key",
            "no key file",
            "negative time",
            "two at once",
            "TLS behind a header",
            "unknown flag",
        ),
        WRONG,
    ),
)
def test_the_start_stops_for(case: str, tmp_path: Path) -> None:
    args, line = WRONG[case]
    with Served(tmp_path, *args) as served:
        assert_stopped_with_one_line(served, line)


IN_A_FILE = {
    "certfile": ("certfile = 'absent.pem'", "absent.pem"),
    "certfile and a source": ("source = 'proxy'\ncertfile = 'x'", "TLS needs source none"),
    "hook": ("def pre_request(worker, req): pass", "pre_request: a WSGI middleware"),
    "ssl hook": ("def ssl_context(conf, default): return default()", "ssl_context: only --cert"),
    "headers": ("secure_scheme_headers = {'X-P': 'https'}", "secure_scheme_headers: X-Forw"),
    "value": ("auth_window = 'soon'", "invalid literal"),
}


@pytest.mark.parametrize("case", only(("certfile", "hook", "value"), IN_A_FILE))
def test_the_start_stops_for_a_config_file_with(case: str, tmp_path: Path) -> None:
    text, line = IN_A_FILE[case]
    (tmp_path / "gunicorn.conf.py").write_text(text)
    with Served(tmp_path) as served:
        assert_stopped_with_one_line(served, line)


UNDER_GUNICORN = {
    "unknown variable": (
        {"CTWSGI_SORCE": "proxy"},
        [],
        "no such variable: CTWSGI_SORCE (--source is meant?)",
    ),
    "unknown source": ({"CTWSGI_SOURCE": "magic"}, [], "--source magic: choose one of"),
    "no such bind": ({"CTWSGI_SOURCE": "127.0.0.1:1=proxy"}, [], "no --bind is 127.0.0.1:1"),
    "neither yes nor no": ({"CTWSGI_GUARDED": "maybe"}, [], "CTWSGI_GUARDED='maybe': neither"),
    "no key file": (
        {"CTWSGI_SOURCE": "proxy", "CTWSGI_AUTH_KEY_FILE": "absent"},
        [],
        "absent",
    ),
    "threads": ({}, ["--threads", "4"], "threads: a worker runs greenlets"),
    "TLS behind a header": (
        {"CTWSGI_SOURCE": "proxy"},
        ["--certfile", "app.py"],
        "TLS needs source none, not proxy",
    ),
}


@pytest.mark.parametrize(
    "case", only(("unknown variable", "no such bind", "threads"), UNDER_GUNICORN)
)
def test_plain_gunicorn_stops_for(case: str, tmp_path: Path) -> None:
    env, args, line = UNDER_GUNICORN[case]
    with Served(tmp_path, *args, env=env, gunicorn=True) as served:
        assert_stopped_with_one_line(served, line)


@pytest.mark.parametrize("gunicorn", [False, True], ids=["serve", "gunicorn"])
def test_an_unsafe_listener_stops_the_start_with_the_rule_it_wants(
    gunicorn: bool, tmp_path: Path
) -> None:
    """On a public address anybody could write the origin. The test only binds that address."""
    (tmp_path / "app.py").write_text(ECHO)
    with socket.create_server(("0.0.0.0", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        command = [sys.executable, "-m", "ctwsgi", "serve"]
        if gunicorn:
            command = [sys.executable, "-m", "gunicorn", "-k", "ctwsgi.worker.CtWorker"]
        result = subprocess.run(
            [*command, "--bind", f"fd://{fd}", "app:app"],
            cwd=tmp_path,
            env=clean_environ({"CTWSGI_SOURCE": "proxy"}, []),
            pass_fds=[fd],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert result.returncode == 1
    assert f"tcp dport {port} ct status ! dnat drop" in result.stderr
    assert result.stderr.count("source proxy on an address that others can reach") == 1
    assert "Traceback" not in result.stderr
    assert "Booting worker" not in result.stderr


APPS = {
    "no module": ("nothing:app", "no module 'nothing' to import 'nothing:app'"),
    "no submodule": ("app.sub:app", "no module 'app.sub'"),
    "no attribute": ("app:other", "Failed to find attribute 'other' in 'app'"),
    "not callable": ("app:json.dumps", "as an attribute name or function call"),
    "a file": ("app.py:app", "did you mean 'app:app'?"),
    "wrong arguments": ("app:make(1)", "make() takes 0 positional arguments"),
}


@pytest.mark.parametrize(
    "preload", [(), pytest.param(("--preload",), marks=pytest.mark.full)], ids=["", "preload"]
)
@pytest.mark.parametrize("case", APPS)
def test_a_wrong_application_is_one_line(
    case: str, preload: tuple[str, ...], tmp_path: Path
) -> None:
    target, line = APPS[case]
    app = ECHO + "\ndef make():\n    return app\n"
    with Served(tmp_path, *preload, app=app, target=target) as served:
        assert served.wait_exit() == 4
        assert line in served.log
        assert "Traceback" not in served.log


def test_an_error_inside_the_application_keeps_its_traceback(tmp_path: Path) -> None:
    with Served(tmp_path, app="import nothing_like_this\n") as served:
        assert served.wait_exit() > 0
        assert "Traceback" in served.log
        assert "No module named 'nothing_like_this'" in served.log


def test_no_application_is_one_line(tmp_path: Path) -> None:
    with Served(tmp_path, target="") as served:
        assert_stopped_with_one_line(served, "No application module specified")


def test_check_config_says_yes_or_why_not(tmp_path: Path) -> None:
    with Served(tmp_path, "--check-config") as served:
        assert served.wait_exit() == 0
    with Served(tmp_path, "--check-config", target="app:other") as served:
        assert served.wait_exit() == 1
        assert "Failed to find attribute 'other'" in served.log
        assert "Traceback" not in served.log


def test_a_factory_is_called(tmp_path: Path) -> None:
    factory = ECHO.replace("def app(", "def inner(") + "def create_app(name='x'): return inner\n"
    with Served(tmp_path, app=factory, target="app:create_app(name='y')") as served:
        assert seen(served.get())["ct.source"] == "none"


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Served(
        tmp_path, "--bind", f"unix:{path}", "--source", f"unix:{path}=proxy", listeners=0
    ) as served:
        until(path.exists, "the socket")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE)
            until(lambda: sock.connect_ex(str(path)) == 0, "the listener")
            sock.sendall(V1 + request())
            app = seen(answer(receive_until_closed(sock)))
        assert app["ct.orig_dst"] == ORIGIN
        served.process.terminate()
        assert served.wait_exit() == 0
        assert not path.exists()


@pytest.mark.parametrize("gunicorn", [False, True], ids=["serve", "gunicorn"])
def test_systemd_hands_over_sockets_and_is_told(gunicorn: bool, tmp_path: Path) -> None:
    """LISTEN_FDS: descriptor 3 is the first listener, and --source names it fd://3."""
    (tmp_path / "app.py").write_text(ECHO)
    command = "ctwsgi serve" if not gunicorn else "gunicorn -k ctwsgi.worker.CtWorker"
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
        (tmp_path / "log").open("wb") as log,
    ):
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(DEADLINE)
        address = listener.getsockname()
        # Like systemd: the listener is descriptor 3, and LISTEN_PID names the process after exec.
        script = (
            f"import os; os.dup2({listener.fileno()}, 3);"
            "os.environ['LISTEN_PID'] = str(os.getpid());"
            f"os.execv({sys.executable!r}, {[sys.executable, '-m', *command.split(), 'app:app']})"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=clean_environ(
                {
                    "LISTEN_FDS": "1",
                    "NOTIFY_SOCKET": str(tmp_path / "notify"),
                    "CTWSGI_SOURCE": "fd://3=proxy",
                },
                [],
            ),
            pass_fds=[listener.fileno()],
            stderr=log,
            start_new_session=True,
        )
        try:
            assert notified.recv(4096).startswith(b"READY=1")
            with socket.create_connection(address, DEADLINE) as sock:
                sock.sendall(V1 + request())
                assert seen(answer(receive_until_closed(sock)))["ct.orig_dst"] == ORIGIN
            process.terminate()
            assert process.wait(DEADLINE) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()


def test_the_control_socket_is_off(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    for gunicorn in (False, True):
        with Served(tmp_path, env=env, gunicorn=gunicorn) as served:
            served.get()
            assert list(home.rglob("*")) == []
