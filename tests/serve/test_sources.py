# SPDX-License-Identifier: MIT
"""Sources, keys and TLS on the command line: a client's answers, and the effect of a HUP."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from ctwsgi.wire import proxy
from ctwsgi.wire.auth import Key
from ctwsgi.wire.ctframe import encode_stream
from tests.lab.streams import receive_until_closed

from .served import ECHO, Served, answer, request

SRC, DST = ("192.0.2.1", 5555), ("198.18.0.1", 80)
ONE, TWO = Key(1, b"1" * 16), Key(2, b"2" * 32)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may drop privileges")


def key_file(path: Path, *keys: Key) -> str:
    path.touch(mode=0o600)
    path.write_text("".join(f"{key.id} {key.secret.hex()}\n" for key in keys))
    return str(path)


def signed(key: Key | None, age: float = 0) -> bytes:
    return proxy.encode_v2(SRC, DST, key=key, now=time.time() - age)


def seen(result: tuple[int, bytes]) -> dict[str, object]:
    assert result[0] == 200, result
    return dict(json.loads(result[1]))


REFUSED = {
    "no tag": (signed(None), "auth-missing"),
    "another key": (signed(Key(1, b"3" * 16)), "auth-tag"),
    "an unknown id": (signed(TWO), "auth-key-id"),
    "v1": (b"PROXY TCP4 192.0.2.1 198.18.0.1 5555 80\r\n", "auth-v1"),
    "old": (signed(ONE, age=120), "auth-time"),
    "no header": (b"", "no-header"),
}


@pytest.mark.parametrize("gunicorn", [False, True], ids=["serve", "gunicorn"])
def test_signed_headers(gunicorn: bool, tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", ONE)
    env = {
        "CTWSGI_SOURCE": "proxy",
        "CTWSGI_AUTH_KEY_FILE": keys,
        "CTWSGI_AUTH_WINDOW": "60",
        "CTWSGI_TRUST": "inline",
        "CTWSGI_SNAT": "yes",
    }
    with Served(tmp_path, gunicorn=gunicorn, env=env) as served:
        app = seen(served.get(before=signed(ONE)))
        assert (app["ct.orig_dst"], app["ct.verified"]) == (list(DST), True)
        for header, _ in REFUSED.values():
            assert served.get(before=header) == (0, b"")
        served.signal(signal.SIGTERM)
        assert served.wait_exit() == 0
        summary = served.log.rpartition("Turned away so far: ")[2]
        for _, reason in REFUSED.values():
            assert f"refused:{reason} 1" in summary


def test_a_hup_reads_the_keys_again_and_keeps_the_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    args = ["--source", "proxy", "--auth-key-file", key_file(path, ONE)]

    def reload(served: Served, times: int) -> None:
        served.signal(signal.SIGHUP)
        served.wait_log("Booting worker", times)
        served.wait_log("Worker exiting", times - 1)

    with Served(tmp_path, *args) as served:
        assert served.get(before=signed(ONE))[0] == 200
        key_file(path, ONE, TWO)
        assert served.get(before=signed(TWO)) == (0, b"")
        reload(served, 2)
        assert served.get(before=signed(TWO))[0] == 200
        path.write_text("1 this is no key\n")
        reload(served, 3)
        assert f"{path}:1: " in served.log
        assert "the keys read before stay in use" in served.log
        assert "this is no key" not in served.log
        assert served.get(before=signed(ONE))[0] == 200
        assert served.get(before=signed(TWO))[0] == 200
        key_file(path, TWO)
        reload(served, 4)
        assert served.get(before=signed(ONE)) == (0, b"")
        assert served.get(before=signed(TWO))[0] == 200


def test_a_key_file_that_others_may_read_stops_the_start(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys", ONE)
    Path(path).chmod(0o644)
    with Served(tmp_path, "--source", "proxy", "--auth-key-file", path) as served:
        assert served.wait_exit() == 1
        assert path in served.log
        assert "Traceback" not in served.log
        assert ONE.secret.hex() not in served.log


def test_a_hup_with_a_wrong_configuration_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("source = 'proxy'\n")
    with Served(tmp_path) as served:
        assert served.get(before=signed(None))[0] == 200
        for number, wrong in enumerate(
            ["source = 'magic'\n", "threads = 9\n", "syntax error\n", "certfile = 'absent'\n"], 2
        ):
            config.write_text(wrong)
            os.utime(config, (number, number))
            served.signal(signal.SIGHUP)
            served.wait_log("Booting worker", number)
            served.wait_log("Worker exiting", number - 1)
            assert seen(served.get(before=signed(None)))["ct.source"] == "proxy"
        assert served.log.count("stay") == 4, served.log


def test_frames(tmp_path: Path) -> None:
    with Served(tmp_path, "--source", "ctframe") as served, served.connect() as sock:
        sock.sendall(encode_stream(DST, request(), 7))
        app = seen(answer(receive_until_closed(sock)))
        assert (app["ct.source"], app["ct.orig_dst"]) == ("ctframe", list(DST))


def test_require_redirect_closes_direct_connections(tmp_path: Path) -> None:
    with Served(tmp_path, "--source", "{0}=conntrack", "--require-redirect", listeners=2) as served:
        assert served.get() == (0, b"")
        assert served.get(listener=1)[0] == 200


READS = ECHO.replace("    keys =", "    environ['wsgi.input'].read()\n    keys =")


def test_each_timeout_is_enforced(tmp_path: Path) -> None:
    times = ["--origin-timeout", "1", "--request-timeout", "1", "--body-timeout", "1"]
    args = [*times, "--keep-alive", "600", "--source", "{0}=proxy"]
    with Served(tmp_path, *args, listeners=2, app=READS) as served:
        with served.connect() as silent:
            assert silent.recv(1) == b""
        with served.connect(1) as slow:
            slow.sendall(b"GET / HT")
            assert answer(receive_until_closed(slow))[0] == 408
        with served.connect(1) as short:
            short.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nbody")
            assert answer(receive_until_closed(short))[0] == 408
        served.signal(signal.SIGTERM)
        assert served.wait_exit() == 0
        summary = served.log.rpartition("Turned away so far: ")[2]
        assert "refused:origin-timeout 1" in summary
        assert "timeout:request 1" in summary


def test_keep_alive_bounds_idleness(tmp_path: Path) -> None:
    with Served(tmp_path, "--keep-alive", "1") as served, served.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(receive_until_closed(idle))[0] == 200


LIMITS = {
    "--limit-request-line": (("200", "/" + "x" * 300, ""), 414),
    "--limit-request-fields": (("5", "/", "".join(f"X-{i}: y\r\n" for i in range(6))), 431),
}


@pytest.mark.parametrize("flag", LIMITS)
def test_gunicorns_limits_hold(flag: str, tmp_path: Path) -> None:
    (value, path, headers), status = LIMITS[flag]
    with Served(tmp_path, flag, value) as served:
        assert served.get()[0] == 200
        assert served.get(path, headers=headers)[0] == status
    with Served(tmp_path) as served:
        assert served.get(path, headers=headers)[0] == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(cert), str(key)


def get_tls(served: Served, listener: int, cert: str) -> dict[str, object]:
    context = ssl.create_default_context(cafile=cert)
    with (
        served.connect(listener) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        tls.sendall(request())
        return seen(answer(receive_until_closed(tls)))


@pytest.mark.parametrize("way", ["flags", "config file"])
def test_tls_is_for_the_listener_it_names(
    way: str, certificate: tuple[str, str], tmp_path: Path
) -> None:
    cert, key = certificate
    args = ["--source", "{1}=proxy"]
    if way == "flags":
        args += ["--certfile", f"{{0}}={cert}", "--keyfile", f"{{0}}={key}"]
    else:
        # The environment has the descriptors' numbers, known only after the sockets are open.
        (tmp_path / "gunicorn.conf.py").write_text(
            "import os\ncertfile = [os.environ['FIRST'] + '=' + %r]\n"
            "keyfile = [os.environ['FIRST'] + '=' + %r]\n" % certificate
        )
    with Served(tmp_path, *args, listeners=3, env={"FIRST": "{0}"}) as served:
        assert get_tls(served, 0, cert)["wsgi.url_scheme"] == "https"
        assert seen(served.get(listener=1, before=signed(None)))["wsgi.url_scheme"] == "http"
        assert seen(served.get(listener=2))["wsgi.url_scheme"] == "http"
        assert served.get(listener=0)[0] != 200


@pytest.mark.parametrize("gunicorn", [False, True], ids=["serve", "gunicorn"])
def test_tls_for_every_listener(
    gunicorn: bool, certificate: tuple[str, str], tmp_path: Path
) -> None:
    cert, key = certificate
    args = ["--certfile", cert, "--keyfile", key]
    with Served(tmp_path, *args, listeners=2, gunicorn=gunicorn) as served:
        for listener in (0, 1):
            assert get_tls(served, listener, cert)["wsgi.url_scheme"] == "https"


def test_an_encrypted_key_stops_the_start_instead_of_asking(
    certificate: tuple[str, str], tmp_path: Path
) -> None:
    cert, key = certificate
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", locked], check=True
    )
    with Served(tmp_path, "--certfile", cert, "--keyfile", str(locked)) as served:
        assert served.wait_exit() == 1
        assert "the key is encrypted" in served.log
        assert "Traceback" not in served.log


def reserve() -> socket.socket:
    """A port that only a socket with SO_REUSEPORT can bind as well. It does not listen."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


@needs_root
@pytest.mark.parametrize("reuse_port", [False, True], ids=["", "reuse-port"])
def test_rights_are_used_before_they_are_dropped(reuse_port: bool, tmp_path: Path) -> None:
    """Root reads the keys and sets IP_TRANSPARENT; the workers run as nobody."""
    # Each worker binds by itself, so the ports must be known before. These keep them free.
    reserved = [reserve() for _ in range(2)] if reuse_port else []
    ports = [sock.getsockname()[1] for sock in reserved]
    binds = [f"127.0.0.1:{port}" for port in ports] if reuse_port else ["{0}", "{1}"]
    # --preload, because the user nobody cannot read the test's directory.
    args = [
        "--preload",
        "--user",
        "nobody",
        "--source",
        binds[0] + "=tproxy",
        "--source",
        binds[1] + "=proxy",
    ]
    args += ["--auth-key-file", key_file(tmp_path / "keys", ONE)]
    if reuse_port:
        args += ["--reuse-port", *(word for bind in binds for word in ("--bind", bind))]
    app = ECHO.replace('"pid": os.getpid()', '"uid": os.getuid()')
    with Served(tmp_path, *args, app=app, listeners=0 if reuse_port else 2) as served:
        if reuse_port:
            served.addresses = [("127.0.0.1", port) for port in ports]
            served.wait_log("source proxy")
            served.wait_log("Booting worker")
        nobody = pwd.getpwnam("nobody").pw_uid
        app0 = seen(served.get())
        assert (app0["uid"], app0["ct.source"], app0["ct.orig_dst"]) == (nobody, "tproxy", None)
        app1 = seen(served.get(listener=1, before=signed(ONE)))
        assert (app1["uid"], app1["ct.verified"]) == (nobody, True)
    for sock in reserved:
        sock.close()
