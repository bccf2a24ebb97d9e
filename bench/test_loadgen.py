# SPDX-License-Identifier: MIT
"""The bytes that the load generator sends, and its verdicts on answers, with a plain socket."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
from collections.abc import Callable

import pytest

from .build import build_loadgen

DESTINATION = "198.51.100.9:8081"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSAL = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nok"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


def plain(data: bytes) -> tuple[bytes, bytes]:
    return b"", data


def framed(data: bytes) -> tuple[bytes, bytes]:
    """The payloads of all complete frames, which must have the same destination."""
    payload, position = b"", 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 6 : position + 8], "little")
        assert data[position : position + 6] == bytes([198, 51, 100, 9, 0x91, 0x1F])
        assert length > 0
        payload += data[position + 8 : position + 8 + length]
        position += 8 + length
    return b"", payload


def after(header: bytes) -> Callable[[bytes], tuple[bytes, bytes]]:
    return lambda data: (data[: len(header)], data[len(header) :])


V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    + bytes([192, 0, 2, 7, 198, 51, 100, 9])
    + struct.pack("!HH", 51234, 8081)
)
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.9 51234 8081\r\n"


class Sink:
    """Answers the requests of one connection after another, and keeps their bytes."""

    def __init__(self, unwrap: Callable[[bytes], tuple[bytes, bytes]], answer: bytes) -> None:
        self.unwrap, self.answer = unwrap, answer
        self.connections: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                self.connections.append(self.converse(sock))

    def converse(self, sock: socket.socket) -> bytes:
        raw, answered = b"", 0
        while data := sock.recv(1 << 20):
            raw += data
            if len(requests(self.unwrap(raw)[1])) > answered:
                answered += 1
                sock.sendall(self.answer)
                if b"close" in self.answer:
                    break
        return raw

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


def requests(data: bytes) -> list[tuple[bytes, bytes]]:
    """(head, body) of each complete request."""
    found = []
    while b"\r\n\r\n" in data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = 0
        if b"Content-Length: " in head:
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        if len(data) < length:
            break
        found.append((head, data[:length]))
        data = data[length:]
    return found


def run(unwrap: Callable[[bytes], tuple[bytes, bytes]], answer: bytes, *options: str):
    sink = Sink(unwrap, answer)
    call = [build_loadgen(), "--port", str(sink.port), "--connections", "1"]
    call += ["--seconds", "50", *options]  # its time limit must not end the run on a busy machine
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    sink.close()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), sink.connections


@pytest.mark.parametrize("body", [0, 1, 1446, 1448, 70000])
@pytest.mark.parametrize(
    ("format_options", "unwrap", "header"),
    [
        (["--format", "none"], plain, b""),
        (["--format", "proxy-v1"], after(V1), V1),
        (["--format", "proxy-v2"], after(V2), V2),
        (["--format", "ctframe", "--frame-size", "1"], framed, b""),
        (["--format", "ctframe", "--frame-size", "100"], framed, b""),
        (["--format", "ctframe", "--frame-size", "1448"], framed, b""),
        (["--format", "ctframe", "--frame-size", "65535"], framed, b""),
    ],
    ids=["none", "v1", "v2", "frames-1", "frames-100", "frames-1448", "frames-65535"],
)
def test_requests_come_out_whole_behind_one_origin(format_options, unwrap, header, body):
    options = [*format_options, "--destination", DESTINATION, "--body", str(body)]
    result, connections = run(unwrap, ANSWER, *options, "--requests", "3", "--expect", "ok")
    assert (result["requests"], result["errors"], result["non_200"]) == (3, 0, 0)
    (raw,) = connections
    seen_header, stream = unwrap(raw)
    assert seen_header == header
    assert [(head.split(b" ")[0], len(body)) for head, body in requests(stream)] == [
        (b"POST" if body else b"GET", body)
    ] * 3
    assert stream.endswith(b"x" * body)


def test_frame_size_is_the_payload_of_every_frame_but_the_last():
    _, (raw,) = run(
        framed, ANSWER, "--format", "ctframe", "--frame-size", "1448", "--body", "5000",
        "--requests", "1", "--destination", DESTINATION,
    )  # fmt: skip
    lengths, position = [], 0
    while position < len(raw):
        lengths.append(int.from_bytes(raw[position + 6 : position + 8], "little"))
        position += 8 + lengths[-1]
    assert set(lengths[:-1]) == {1448}
    assert position == len(raw)
    # Frames hold the head as well: more than the body's 5000 bytes.
    assert sum(lengths) > 5000


def test_header_file_begins_each_new_connection(tmp_path):
    header = V2[:15] + b"\x0f" + V2[16:] + b"\x04\x00\x00"
    (tmp_path / "header").write_bytes(header)
    result, connections = run(
        after(header), CLOSING, "--header-file", str(tmp_path / "header"), "--new-connection",
        "--requests", "4",
    )  # fmt: skip
    assert result["connections"] == result["requests"] == len(connections) == 4
    assert all(raw.startswith(header + b"GET / HTTP/1.1\r\n") for raw in connections)


@pytest.mark.parametrize(
    ("answer", "options", "errors", "non_200", "why"),
    [
        (REFUSAL, [], 0, 2, ""),
        (ANSWER, ["--expect", "other"], 1, 0, "an unexpected body"),
        (b"HTTP/1.1 200 OK\r\n\r\n", [], 1, 0, "an answer without Content-Length"),
        (ANSWER + b"!", [], 1, 0, "bytes after the answer"),
        (b"SSH-2.0-close\r\n\r\n", [], 1, 0, "the answer is not HTTP/1"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nclose",
            [],
            1,
            0,
            "closed before the answer",
        ),
    ],
)
def test_a_wrong_answer_is_counted(answer, options, errors, non_200, why):
    result, _ = run(plain, answer, "--requests", "2", *options)
    assert (result["errors"], result["non_200"], result["first_error"]) == (errors, non_200, why)


@pytest.mark.parametrize(
    "options",
    [
        ["--address", "192.0.2.1"],
        ["--format", "ctframe", "--frame-size", "65536"],
        ["--frame-size", "0"],
        ["--seconds", "0"],
        ["--format", "seed"],
        ["--format", "proxy-v2", "--header-file", "/dev/null"],
        ["--header-file", "/dev/null"],
    ],
)
def test_a_wrong_call_sends_nothing(options):
    call = [build_loadgen(), "--port", "9", *options]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("loadgen: ")
