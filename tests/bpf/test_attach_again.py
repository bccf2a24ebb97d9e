# SPDX-License-Identifier: MIT
"""Somebody has removed filters of the program: attaching again, status and detach after that."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctwsgi.ebpf.libbpf import Map
from ctwsgi.ebpf.pins import ALL_PINS
from ctwsgi.wire.auth import KeyRing
from tests.lab import draw_destination, until
from tests.lab.process import Process

from .available import unavailable
from .gateway import DEVICE, Gateway, read_header
from .keys import KEYS, key_file

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

LOST = [("ingress",), ("egress",), ("ingress", "egress"), ("clsact",)]
"""What is removed: filters, or the qdisc with both."""

AGAIN = f"{DEVICE}: attached again, its connections go on\n"


@contextmanager
def established(gateway: Gateway, listener: socket.socket) -> Iterator[list[socket.socket]]:
    """The two ends of a connection whose header has arrived: the client's, the server's."""
    with gateway.lab.client.connect(draw_destination(4)) as client:
        client.settimeout(20)
        client.sendall(b"one")
        accepted, _ = listener.accept()
        with accepted:
            rest = read_header(accepted)[1]
            while rest != b"one":
                rest += accepted.recv(100)
            yield [client, accepted]


def goes_on(ends: list[socket.socket]) -> None:
    """Data passes in both directions."""
    for sender, receiver in (ends, ends[::-1]):
        sender.sendall(b"more")
        assert receiver.recv(100) == b"more"


def folder(gateway: Gateway, device: str = DEVICE) -> Path:
    """Where the device's maps are pinned."""
    index, _, _ = gateway.lab.gateway.ip("-o", "link", "show", "dev", device).partition(":")
    return ALL_PINS / str(gateway.lab.gateway.inode) / index


def pin_other(gateway: Gateway, name: str, entries: int) -> None:
    """Put another map in the place of a pinned one, as another version would have it."""
    path = folder(gateway) / name
    former = Map.pinned(path)
    other = Map.make(former.kind, name, former.key_size, former.value_size, entries)
    other.pin(path)
    other.close()
    former.close()


@pytest.mark.parametrize("lost", LOST, ids="+".join)
def test_connections_go_on(gateway: Gateway, lost: tuple[str, ...]) -> None:
    """The new filters take over the maps that are still pinned."""
    gateway.command("attach", DEVICE)
    with gateway.listening() as listener, established(gateway, listener) as ends:
        gateway.remove(*lost)
        assert gateway.command("status", DEVICE, check=False).returncode == 1
        assert gateway.command("attach", DEVICE).stdout == AGAIN
        goes_on(ends)
        gateway.visit(listener)
    counters = gateway.counters()
    assert "drop_no_syn" not in counters
    assert counters["ctproxy_headers"] == 2
    gateway.command("detach", DEVICE)
    shown = gateway.lab.gateway.run(["tc", "qdisc", "show", "dev", DEVICE]).stdout
    assert "clsact" not in shown
    assert not folder(gateway).exists()


def test_commands_for_other_devices_leave_the_maps(gateway: Gateway) -> None:
    """They remove maps of devices that are gone. This one is there, without its filters."""
    gateway.command("attach", DEVICE)
    with gateway.listening() as listener, established(gateway, listener) as ends:
        gateway.remove("clsact")
        gateway.command("attach", "client", *gateway.backends(1))
        gateway.command("detach", "client")
        assert gateway.command("attach", DEVICE).stdout == AGAIN
        goes_on(ends)


def test_the_table_keeps_its_size_and_that_is_said(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, "--max-flows", "7")
    kept = "  --max-flows 9: the table keeps its 7 entries; only a detach and an attach change it\n"
    again = gateway.command("attach", DEVICE, "--max-flows", "9").stdout
    assert again == f"{DEVICE}: replaced\n{kept}"
    gateway.remove("clsact")
    assert gateway.command("attach", DEVICE, "--max-flows", "9").stdout == AGAIN + kept
    assert gateway.status()["max_flows"] == 7


@pytest.mark.parametrize("name", ["counters", "works"])
def test_maps_of_another_version(gateway: Gateway, name: str) -> None:
    """While the program runs, they are not given up. When it is gone, the injector comes first."""
    gateway.command("attach", DEVICE)
    with gateway.listening() as listener, established(gateway, listener) as (client, _):
        pin_other(gateway, name, 3)
        refused = gateway.command("attach", DEVICE, check=False)
        assert refused.returncode == 2
        assert f"whose {name} cannot be taken over: detach it first" in refused.stderr
        gateway.remove("egress")
        output = gateway.command("attach", DEVICE).stdout
        assert output.startswith(f"{DEVICE}: attached anew: what was pinned is incomplete or of an")
        client.sendall(b"more")
        until(lambda: "drop_no_syn" in gateway.counters(), "it is dropped and counted")
        gateway.visit(listener)


def test_maps_that_are_incomplete(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE)
    (folder(gateway) / "flows").unlink()
    refused = gateway.command("attach", DEVICE, check=False)
    assert (refused.returncode, "detach server first" in refused.stderr) == (2, True)
    gateway.remove("egress")
    assert "attached anew" in gateway.command("attach", DEVICE).stdout


def test_settings_are_written_again(gateway: Gateway) -> None:
    """Attaching does not take them over, so it does without them."""
    for remove in ((), ("egress",)):
        gateway.command("attach", DEVICE)
        (folder(gateway) / "settings").unlink()
        for name in remove:
            gateway.remove(name)
        gateway.command("attach", DEVICE, "--existing", "pass")
        assert gateway.status()["attached"]


def test_the_qdisc_goes_with_a_program_that_was_attached_anew(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE)
    (folder(gateway) / "flows").unlink()
    gateway.remove("egress")
    gateway.command("attach", DEVICE)
    gateway.command("detach", DEVICE)
    listed = gateway.lab.gateway.run(["tc", "qdisc", "show", "dev", DEVICE])
    assert "clsact" not in listed.stdout


def test_maps_of_a_device_that_had_the_same_numbers() -> None:
    """A namespace's number is given again soon after its end, and each counts devices from 1."""
    with Gateway() as gone, Gateway() as other:
        gone.command("attach", DEVICE)
        place = folder(other)
        place.parent.mkdir(mode=0o700)
        folder(gone).rename(place)
        gone.lab.gateway.ip("link", "del", DEVICE)
        refused = other.command("status", DEVICE, check=False)
        assert "nothing is attached" in refused.stderr
        assert other.command("detach", DEVICE).stdout == f"{DEVICE}: nothing was attached\n"
        assert other.command("attach", DEVICE).stdout == f"{DEVICE}: attached\n"


@pytest.mark.parametrize("phase", ["open", "syn"])
def test_detach_resets_what_can_get_no_header(gateway: Gateway, phase: str) -> None:
    """Without the egress filter nobody sends the headers of connections that are being opened."""
    gateway.command("attach", DEVICE)
    lab = gateway.lab
    with gateway.listening() as listener:
        port = listener.getsockname()[1]
        gateway.hold_back(phase, port)
        half = ("ss", "-Htn", "state", "syn-recv", "sport", "=", f":{port}")
        with lab.client.socket(socket.AF_INET) as sock:
            sock.settimeout(20)
            sock.setblocking(phase == "open")
            sock.connect_ex(draw_destination(4))
            until(lambda: lab.server.run(half).stdout, "the server has half a connection")
            gateway.remove("egress")
            assert gateway.command("detach", DEVICE).stdout == (
                f"{DEVICE}: detached\n  reset because their header had not arrived: 1\n"
            )
            until(lambda: not lab.server.run(half).stdout, "it is reset at the server", 20)
            code = errno.ECONNRESET if phase == "open" else errno.ECONNREFUSED
            assert until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "") == code


def running(gateway: Gateway, keys: Path) -> Process:
    """`ctwsgi gateway run` with this key file, attached."""
    words = [sys.executable, "-m", "ctwsgi", "gateway", "run", DEVICE]
    process = gateway.lab.gateway.popen([*words, "--auth-key-file", str(keys)])
    process.wait_log("attached")
    return process


def test_the_rotated_key_outlives_a_lost_program(gateway: Gateway, tmp_path: Path) -> None:
    """`run` attaches again with the key that signed last, not with the one that it began with."""
    keys = key_file(tmp_path / "keys", KEYS[7])
    process = running(gateway, keys)
    key_file(keys, *KEYS.values())
    process.signal(signal.SIGHUP)
    process.wait_log("signing with key 3")
    with gateway.listening() as listener, established(gateway, listener) as ends:
        gateway.remove("clsact")
        # A file that cannot be read: this SIGHUP only makes it look at once.
        key_file(keys, "3 nonsense")
        process.signal(signal.SIGHUP)
        process.wait_log("the program was gone: attached again")
        ring = KeyRing.parse("\n".join(KEYS.values()))
        assert gateway.visit(listener, keys=ring).auth == 3
        goes_on(ends)
    assert process.stop() == 0


def test_a_key_that_comes_while_the_program_is_gone(gateway: Gateway, tmp_path: Path) -> None:
    """Nothing is there that could sign with it: it counts from the next attaching on."""
    keys = key_file(tmp_path / "keys", KEYS[7])
    process = running(gateway, keys)
    gateway.command("detach", DEVICE)
    key_file(keys, *KEYS.values())
    process.signal(signal.SIGHUP)
    process.wait_log("the program was gone: attached")
    with gateway.listening() as listener:
        ring = KeyRing.parse("\n".join(KEYS.values()))
        assert gateway.visit(listener, keys=ring).auth == 3
    assert process.stop() == 0
