# SPDX-License-Identifier: MIT
"""1 GB up and 1 GB down in less than 60 MB of memory, some seconds each.

The server runs in a process of its own. VmHWM in its /proc/PID/status is the most memory that it
ever had, so the result does not depend on when it is read.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctwsgi.wire import ctframe
from tests import ROOT

from .big_server import BLOCK, STEP
from .cases import get, lines
from .wire import Client

GB = 1 << 30
LIMIT_KB = 60 * 1024
FRAMED = ctframe.frame_header(("93.184.216.34", 80), 65535)
FRAME = FRAMED + (BLOCK * 2)[:65535]


class Process:
    """A server process on loopback, and the most memory that it has had."""

    def __init__(self, source: str = "none") -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
            self.address = listener.getsockname()
            fd = listener.fileno()
            script = Path(__file__).with_name("big_server.py")
            command = [sys.executable, str(script), str(fd), source]
            environ = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(command, pass_fds=[fd], env=environ)

    def peak_kb(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (x for x in status.splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1])

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)


@pytest.fixture
def server() -> Iterator[Process]:
    with Process() as process:
        yield process


def expected(block: bytes, count: int) -> bytes:
    crc = 0
    for _ in range(count):
        crc = zlib.crc32(block, crc)
    return b"%d %d" % (len(block) * count, crc)


@pytest.mark.full
def test_upload_1_gb(server: Process) -> None:
    with Client(server.address) as client:
        client.sock.settimeout(100)
        client.send(lines(b"PUT / HTTP/1.1", b"Host: x", b"Content-Length: %d" % GB))
        for _ in range(GB // STEP):
            client.sock.sendall(BLOCK)
        assert client.response().body == expected(BLOCK, GB // STEP)
    assert server.peak_kb() < LIMIT_KB


def test_upload_1_gb_in_chunks(server: Process) -> None:
    chunk = b"%x\r\n%b\r\n" % (STEP, BLOCK)
    with Client(server.address) as client:
        client.sock.settimeout(100)
        client.send(lines(b"PUT / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked"))
        for _ in range(GB // STEP):
            client.sock.sendall(chunk)
        client.send(b"0\r\n\r\n")
        assert client.response().body == expected(BLOCK, GB // STEP)
    assert server.peak_kb() < LIMIT_KB


@pytest.mark.full
def test_upload_1_gb_in_one_chunk(server: Process) -> None:
    with Client(server.address) as client:
        client.sock.settimeout(100)
        client.send(lines(b"PUT / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked"))
        client.send(b"%x\r\n" % GB)
        for _ in range(GB // STEP):
            client.sock.sendall(BLOCK)
        client.send(b"\r\n0\r\n\r\n")
        assert client.response().body == expected(BLOCK, GB // STEP)
    assert server.peak_kb() < LIMIT_KB


def test_upload_1_gb_in_frames() -> None:
    count = GB // 65535
    with Process("ctframe") as server, Client(server.address) as client:
        client.sock.settimeout(100)
        head = lines(b"PUT / HTTP/1.1", b"Host: x", b"Content-Length: %d" % (65535 * count))
        client.send(ctframe.encode_stream(("93.184.216.34", 80), head))
        for _ in range(count):
            client.sock.sendall(FRAME)
        assert client.response().body == expected(FRAME[8:], count)
        assert server.peak_kb() < LIMIT_KB


def test_an_unread_gb_is_not_taken_in(server: Process) -> None:
    """The application answers at once. The server neither stores the body nor reads all of it."""
    with Client(server.address) as client:
        client.send(lines(b"PUT /ignore HTTP/1.1", b"Host: x", b"Content-Length: %d" % GB))
        sent = 0
        while sent < GB and client.send(BLOCK):
            sent += STEP
        assert sent < GB
        assert client.response().body == b"ignored"
    assert server.peak_kb() < LIMIT_KB


class Download:
    """Reads a response and keeps only its size and CRC."""

    def __init__(self, client: Client) -> None:
        self.size = self.crc = 0
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.sock.recv(65536)
        head, _, rest = head.partition(b"\r\n\r\n")
        self.chunked = b"chunked" in head
        if self.chunked:
            self._chunks(client.sock, rest)
        else:
            name, _, length = head.lower().partition(b"content-length: ")
            assert name, head
            left = int(length.split(b"\r")[0])
            self._take(client.sock, rest, left)

    def _take(self, sock: socket.socket, rest: bytes, left: int) -> None:
        while True:
            assert len(rest) <= left
            self.crc = zlib.crc32(rest, self.crc)
            self.size += len(rest)
            left -= len(rest)
            if not left:
                return
            rest = sock.recv(min(left, 1 << 18))
            assert rest, "EOF"

    def _chunks(self, sock: socket.socket, rest: bytes) -> None:
        with sock.makefile("rb", buffering=1 << 18) as file:
            first, rest = rest, b""
            pending = [first]

            def line() -> bytes:
                while b"\r\n" not in pending[0]:
                    pending[0] += file.readline()
                got, _, pending[0] = pending[0].partition(b"\r\n")
                return got

            while size := int(line(), 16):
                data, pending[0] = pending[0][:size], pending[0][size:]
                data += file.read(size - len(data))
                assert len(data) == size
                self.crc = zlib.crc32(data, self.crc)
                self.size += size
                assert line() == b""
            assert line() == b""


@pytest.mark.parametrize("path", [pytest.param("/length", marks=pytest.mark.full), "/chunked"])
def test_download_1_gb_from_a_generator(server: Process, path: str) -> None:
    with Client(server.address) as client:
        client.sock.settimeout(100)
        client.send(get(target=path.encode() + b"?%d" % GB))
        got = Download(client)
        assert b"%d %d" % (got.size, got.crc) == expected(BLOCK, GB // STEP)
        assert got.chunked is (path == "/chunked")
    assert server.peak_kb() < LIMIT_KB


@pytest.mark.full
def test_file_wrapper_1_gb(server: Process, tmp_path: Path) -> None:
    """A sparse file: a gigabyte to read, almost nothing on the disk."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(GB)
        file.seek(GB - 3)
        file.write(b"end")
    with Client(server.address) as client:
        client.sock.settimeout(100)
        client.send(get(target=b"/file?" + str(path).encode()))
        got = Download(client)
    assert got.size == GB
    crc = zlib.crc32(b"begin")
    zeros = bytes(STEP)
    left = GB - 8
    while left:
        crc = zlib.crc32(zeros[:left], crc)
        left -= min(left, STEP)
    assert got.crc == zlib.crc32(b"end", crc)
    assert server.peak_kb() < LIMIT_KB


def test_many_stalled_downloads_hold_little(server: Process) -> None:
    """Forty readers stop reading. Their responses wait, and none is collected in memory."""
    clients = [Client(server.address) for _ in range(40)]
    for client in clients:
        client.send(get(target=b"/length?%d" % GB))
    for client in clients:
        assert client.sock.recv(1024)
    assert server.peak_kb() < LIMIT_KB
    for client in clients:
        client.sock.close()


def test_the_measure_can_fail(server: Process) -> None:
    count = 1024  # 64 MB, which the application reads into memory
    with Client(server.address) as client:
        head = lines(b"PUT /hold HTTP/1.1", b"Host: x", b"Content-Length: %d" % (STEP * count))
        client.send(head)
        for _ in range(count):
            client.sock.sendall(BLOCK)
        assert client.response().body == expected(BLOCK, count)
    assert server.peak_kb() > LIMIT_KB
