# SPDX-License-Identifier: MIT
"""`ctwsgi relay` writes the origin in front of each stream behind a real REDIRECT."""

from __future__ import annotations

import signal
import socket

import pytest

from ctwsgi.errors import OriginError, Reason
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import FrameDecoder
from tests.lab.streams import receive_all, receive_exactly, receive_header
from tests.lab.wait import until

from .field import KEY_1, KEY_2, assert_dial_is_reset
from .link import (
    CLIENT,
    CLIENT_V6,
    somewhere,
    somewhere_v6,
)


@pytest.mark.parametrize("options", [(), ("--crc32c",)], ids=["plain", "crc32c"])
def test_proxy_ipv4(field, options):
    field.start("--format", "proxy", *options)
    for _ in range(5):
        dialled = somewhere()
        client = field.dial(dialled)
        client.sendall(b"hello")
        server = field.accept()
        header = receive_header(server)
        assert (header.dst, header.src) == (dialled, client.getsockname())
        assert header.src[0] == CLIENT
        assert receive_exactly(server, 5) == b"hello"
    assert field.relay.counters() == {"active": 5, "accepted": 5, "relayed": 5}


def test_proxy_ipv6(field):
    field.start_v6("--format", "proxy")
    for _ in range(5):
        dialled = somewhere_v6()
        client = field.dial(dialled)
        header = receive_header(field.accept())
        assert (header.dst, header.src) == (dialled, client.getsockname()[:2])
        assert header.src[0] == CLIENT_V6


def test_ctframe_ipv4(field):
    field.start("--format", "ctframe")
    for _ in range(5):
        dialled = somewhere()
        client = field.dial(dialled)
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        decoder = FrameDecoder()
        assert decoder.feed(receive_all(field.accept())) == b"hello"
        decoder.eof()
        assert decoder.destination == dialled


def test_ctframe_refuses_ipv6(field):
    relay = field.start_v6("--format", "ctframe")
    assert_dial_is_reset(field, somewhere_v6())
    relay.wait_count("refused:not-ipv4")


def test_signed_headers_and_keys_read_again_on_hup(field, tmp_path):
    path = tmp_path / "keys"

    def write(text: str, mode: int = 0o600) -> None:
        path.write_text(text)
        path.chmod(mode)

    def hup(says: str) -> None:
        before = field.relay.log().count(says)
        field.relay.process.send_signal(signal.SIGHUP)
        until(lambda: field.relay.log().count(says) > before, says)

    def signed_by() -> int | None:
        return receive_header(field.pair()[1], ring).auth

    ring = KeyRing.parse(f"{KEY_1}\n{KEY_2}\n")
    write(f"{KEY_2}\n")
    field.start("--format", "proxy", "--auth-key-file", str(path))
    assert signed_by() == 2
    write(f"{KEY_2}\n{KEY_1}\n")
    hup("signing with key 1")
    assert signed_by() == 1
    for text, mode in (("nonsense\n", 0o600), (f"{KEY_2}\n", 0o644)):
        write(text, mode)
        hup("the old key stays")
        assert signed_by() == 1
    assert "11" * 16 not in field.relay.log()
    with pytest.raises(OriginError) as refused:
        receive_header(field.pair()[1], KeyRing.parse("1 " + "33" * 16))
    assert refused.value.reason is Reason.AUTH_TAG


def test_hup_without_a_key_file_is_survived(field):
    relay = field.start("--format", "ctframe")
    relay.process.send_signal(signal.SIGHUP)
    until(lambda: "no key file" in relay.log(), "the answer to SIGHUP")
    assert relay.process.poll() is None


def test_server_first(field):
    field.start("--format", "proxy")
    client, server = field.pair()
    receive_header(server)
    server.sendall(b"220 ready\r\n")
    assert client.recv(100) == b"220 ready\r\n"
