# SPDX-License-Identifier: MIT
"""nginx and haproxy read what `ctwsgi relay` writes."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.lab.streams import receive_all
from tests.lab.wait import until

from .field import DEADLINE, KEY_1, Field
from .link import (
    CLIENT,
    CLIENT_V6,
    somewhere,
    somewhere_v6,
)


def spawn(field: Field, *command: str) -> subprocess.Popen[bytes]:
    with field.link.gateway.inside():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end() -> None:
        process.terminate()
        process.wait(DEADLINE)

    field.stack.callback(end)
    return process


def free_port(field: Field) -> int:
    with field.link.gateway.inside(), socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def get(field: Field, address: tuple[str, int]) -> str:
    client = field.dial(address)
    client.sendall(b"GET / HTTP/1.1\r\nHost: somewhere\r\nConnection: close\r\n\r\n")
    head, _, body = receive_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return body.decode()


def start_nginx(field: Field, tmp_path: Path) -> int:
    if not (program := shutil.which("nginx")):
        pytest.skip("needs nginx")
    port = free_port(field)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"""
        daemon off; master_process off; worker_processes 1;
        pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;
        events {{ }}
        http {{
            access_log off;
            client_body_temp_path {tmp_path}/t1; proxy_temp_path {tmp_path}/t2;
            fastcgi_temp_path {tmp_path}/t3; uwsgi_temp_path {tmp_path}/t4;
            scgi_temp_path {tmp_path}/t5;
            server {{
                listen 127.0.0.1:{port} proxy_protocol;
                set $dialled "$proxy_protocol_server_addr $proxy_protocol_server_port";
                return 200 "$dialled $proxy_protocol_addr";
            }}
        }}
        """
    )
    spawn(field, program, "-c", str(config), "-p", str(tmp_path), "-e", f"{tmp_path}/error.log")
    return port


def start_haproxy(field: Field, tmp_path: Path) -> int:
    if not (program := shutil.which("haproxy")):
        pytest.skip("needs haproxy")
    port = free_port(field)
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"""
defaults
    mode http
    timeout client 30s
    timeout connect 30s
    timeout server 30s
frontend f
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[dst] %[dst_port] %[src]"
"""
    )
    spawn(field, program, "-db", "-f", str(config))
    return port


CRC32C, SIGNED = (pytest.param(o, marks=pytest.mark.full) for o in ("crc32c", "signed"))


@pytest.mark.parametrize("options", ["plain", CRC32C, SIGNED, "signed crc32c"])
@pytest.mark.parametrize("receiver", [start_nginx, start_haproxy], ids=["nginx", "haproxy"])
def test_other_receivers_read_our_header(field, tmp_path, receiver, options):
    port = receiver(field, tmp_path)
    with field.link.gateway.inside():
        until(lambda: answers(port), f"port {port}")
    keys = tmp_path / "keys"
    keys.write_text(KEY_1)
    keys.chmod(0o600)
    words = [*(["--crc32c"] if "crc32c" in options else [])]
    words += ["--auth-key-file", str(keys)] if "signed" in options else []
    relay = field.start_v6("--format", "proxy", *words, upstream=f"127.0.0.1:{port}")
    dialled = somewhere_v6()
    assert get(field, dialled) == f"{dialled[0]} {dialled[1]} {CLIENT_V6}"
    field.link.clear()
    field.link.redirect(relay.ports()[0])
    for _ in range(5):
        dialled = somewhere()
        assert get(field, dialled) == f"{dialled[0]} {dialled[1]} {CLIENT}"


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True
