# SPDX-License-Identifier: MIT
"""Debian's nginx and haproxy behind headers: which destination they log and answer with.

Both read once and need the whole header then, so they also show whether it comes in one segment.
These versions do not log TLVs; the header's length shows that it was signed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .case import Trial
from .endtoend_field import STARTS, Program, family, nft_count, signing, translated
from .judge import require
from .kernel import until
from .lab import Lab
from .places import SERVER, Address

_KEY = "3 " + "5a" * 24

HEADER = {4: 28, 6: 52}
TAG = 25
"""Bytes of a PROXY v2 header, and of its authentication TLV; see docs/wire-formats.md."""

_TCP = 32
"""Bytes of a TCP header with timestamps."""

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def _nginx(port: int, folder: Path) -> tuple[list[str], str]:
    binds = "".join(f"listen {at} proxy_protocol;\n" for at in _binds(port))
    told = "$proxy_protocol_addr $proxy_protocol_port"
    told += " $proxy_protocol_server_addr $proxy_protocol_server_port"
    text = f"""
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 500; }}
http {{
    log_format origin '{told}';
    access_log {folder}/log origin;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        {binds}
        return 200 '{told}';
    }}
}}
"""
    return ["nginx", "-e", "stderr", "-c"], text


def _haproxy(port: int, folder: Path) -> tuple[list[str], str]:
    binds = "".join(f"    bind {at} accept-proxy\n" for at in _binds(port))
    told = "%[src] %[src_port] %[dst] %[dst_port]"
    text = f"""
global
    log stdout format raw local0
    # Of two threads that log to a file at once, one drops its line.
    nbthread 1
    maxconn 500
defaults
    mode http
    timeout client 30s
    timeout connect 30s
    timeout server 30s
frontend origin
{binds}
    log global
    log-format "{told}"
    http-request return status 200 content-type text/plain lf-string "{told}"
"""
    return ["haproxy", "-db", "-f"], text


def _binds(port: int) -> tuple[str, str]:
    return f"{SERVER[4]}:{port}", f"[{SERVER[6]}]:{port}"


@dataclass(frozen=True)
class Peer:
    """A server of another project; `command` returns its command line and its configuration."""

    name: str
    port: int
    command: Callable[[int, Path], tuple[list[str], str]]
    log: str
    """The file in its folder that has a line for each request."""


PEERS = (Peer("nginx", 8083, _nginx, "log"), Peer("haproxy", 8084, _haproxy, "output"))


@cache
def _started(peer: Peer, lab: Lab) -> Program:
    program = Program(peer.name)
    words, text = peer.command(peer.port, program.folder)
    configuration = program.folder / "configuration"
    configuration.write_text(text)
    with lab.server.entered():
        program.start([*words, str(configuration)])
    return program


async def asks_peer(peer: Peer, connections: int, signed: bool, trial: Trial) -> None:
    """Opens connections at once. Each answer and each line of the log must have both addresses."""
    program = _started(peer, trial.lab)

    def listens() -> bool:
        program.require_alive()
        rows = (
            line.split()
            for name in ("tcp", "tcp6")
            for line in trial.lab.server.proc(name).splitlines()
        )
        return sum(row[1].endswith(f":{peer.port:04X}") and row[3] == _LISTEN for row in rows) == 2

    await until(listens, f"listeners of {peer.name}", STARTS)
    log = program.folder / peer.log
    before, words = log.stat().st_size, len(program.log())
    size = HEADER[trial.place.version] + (TAG if signed else 0)
    with (
        signing(trial, _KEY) if signed else nullcontext(),
        translated(trial, peer.port),
        _headers(trial, peer.port, size) as arrived,
    ):
        told = [_told(trial, next(trial.session.ports)) for _ in range(connections)]
        trial.connections += connections
        answers = await asyncio.gather(*(_ask(trial, *addresses) for addresses in told))
        require(arrived() >= connections, f"{arrived()} headers of {size} bytes arrived")
    wanted = sorted(_line(*addresses) for addresses in told)
    require(sorted(answers) == wanted, f"answered {_first_difference(answers, wanted)}")

    def logged() -> list[str]:
        return log.read_text()[before:].splitlines()

    await until(lambda: len(logged()) >= connections, f"{connections} lines of {peer.name}")
    require(sorted(logged()) == wanted, f"logged {_first_difference(logged(), wanted)}")
    if peer.log != "output":
        require(len(program.log()) == words, f"{peer.name} complains: {program.log()[words:]}")


@contextmanager
def _headers(trial: Trial, port: int, size: int) -> Iterator[Callable[[], int]]:
    """Yields a function that counts the segments with `size` payload bytes in the `with`."""
    length = (20 if trial.place.version == 4 else 40) + _TCP + size
    trial.listener.nft(
        f"""table inet headers {{
  chain pre {{
    type filter hook prerouting priority 0
    tcp dport {port} meta length {length} counter
  }}
}}
"""
    )

    def arrived() -> int:
        return nft_count(trial.listener, "headers", "pre")

    try:
        yield arrived
    finally:
        trial.listener.nft("delete table inet headers")


def _told(trial: Trial, port: int) -> tuple[Address, Address]:
    return (trial.place.source, port), trial.place.original(port)


def _line(source: Address, destination: Address) -> str:
    return f"{source[0]} {source[1]} {destination[0]} {destination[1]}"


def _first_difference(found: list[str], wanted: list[str]) -> str:
    strange = sorted(set(found) - set(wanted))
    missing = sorted(set(wanted) - set(found))
    return f"{len(found)} of {len(wanted)}, not meant: {strange[:2]}, missing: {missing[:2]}"


async def _ask(trial: Trial, source: Address, destination: Address) -> str:
    loop = asyncio.get_running_loop()
    answer = b""
    with trial.client.socket(family(trial.place)) as sock:
        sock.bind(source)
        await loop.sock_connect(sock, destination)
        await loop.sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
        while piece := await loop.sock_recv(sock, 65536):
            answer += piece
    return answer.partition(b"\r\n\r\n")[2].decode()
