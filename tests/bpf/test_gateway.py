# SPDX-License-Identifier: MIT
"""`ctwsgi gateway` on a gateway of network namespaces: its commands and options."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from ctwsgi.ebpf.host import BPFFS
from ctwsgi.ebpf.pins import ALL_PINS
from ctwsgi.wire.auth import KeyRing
from tests.lab import LabError, draw_destination, until

from .available import unavailable
from .gateway import DEVICE, Gateway, read_header
from .keys import KEYS, key_file

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


@pytest.mark.parametrize("version", [4, 6])
def test_every_translated_connection_gets_a_header(gateway: Gateway, version: int) -> None:
    assert gateway.command("attach", DEVICE).stdout == f"{DEVICE}: attached\n"
    with gateway.listening(version) as listener:
        for _ in range(3):
            gateway.visit(listener, version)
    counters = gateway.counters()
    assert counters["ctproxy_headers"] == 3
    assert not [name for name in counters if name.startswith("drop_")]


def test_server_speaks_first(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE)
    with gateway.listening() as listener, gateway.lab.client.connect(draw_destination(4)) as sock:
        accepted, _ = listener.accept()
        with accepted:
            header, rest = read_header(accepted)
            assert header.src == sock.getsockname()
            assert not rest
            accepted.sendall(b"hello")
        assert sock.recv(100) == b"hello"


@pytest.mark.parametrize("version", [4, 6])
def test_signed_and_rotated_while_it_runs(gateway: Gateway, version: int, tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", KEYS[7])
    ring = KeyRing.parse("\n".join(KEYS.values()))
    words = [sys.executable, "-m", "ctwsgi", "gateway", "run", DEVICE]
    process = gateway.lab.gateway.popen([*words, "--auth-key-file", str(keys)])
    process.wait_log("attached")
    with gateway.listening(version) as listener:
        assert gateway.visit(listener, version, ring).auth == 7
        key_file(keys, *KEYS.values())
        process.signal(signal.SIGHUP)
        process.wait_log("signing with key 3")
        assert gateway.visit(listener, version, ring).auth == 3
        key_file(keys, "3 nonsense")
        process.signal(signal.SIGHUP)
        process.wait_log("the old key stays")
        assert gateway.visit(listener, version, ring).auth == 3
        # When `run` ends, the program stays attached and keeps its key.
        assert process.stop() == 0
        assert gateway.visit(listener, version, ring).auth == 3
    assert gateway.status()["key_id"] == 3


def test_only_the_servers_that_are_named(gateway: Gateway) -> None:
    with gateway.listening() as listener:
        port = listener.getsockname()[1]
        gateway.command("attach", DEVICE, *gateway.backends(port + 1))
        with gateway.lab.client.connect(draw_destination(4)) as sock:
            sock.sendall(b"plain")
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(100) == b"plain"
        gateway.command("attach", DEVICE, *gateway.backends(port))
        gateway.visit(listener)


def test_only_the_mark_that_is_named(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, "--mark", "0x10/0xf0")
    gateway.lab.gateway.nft(
        "table ip marks {\n chain pre {\n type filter hook prerouting priority mangle;\n"
        " ct state new tcp sport 2000 ct mark set 0x1f\n }\n}\n"
    )
    with gateway.listening() as listener:
        for port, header in ((2000, True), (2001, False)):
            sock = gateway.lab.client.socket(socket.AF_INET)
            with sock:
                sock.settimeout(20)
                sock.bind((gateway.lab.client.address(), port))
                sock.connect(draw_destination(4))
                sock.sendall(b"plain")
                accepted, _ = listener.accept()
                with accepted:
                    assert accepted.recv(100).startswith(b"\r\n\r\n") is header


def test_untracked_packets_to_a_server_are_dropped(gateway: Gateway) -> None:
    """A packet to a --backend that conntrack does not track, because of a notrack rule."""
    with gateway.listening() as listener:
        address = gateway.lab.server.address(), listener.getsockname()[1]
        gateway.command("attach", DEVICE, *gateway.backends(address[1]))
        # A connection that is tracked and not translated passes.
        gateway.lab.client.connect(address).close()
        listener.accept()[0].close()
        gateway.lab.gateway.nft(
            "table ip raw {\n chain pre {\n type filter hook prerouting priority raw;\n"
            f" tcp dport {address[1]} notrack\n }}\n}}\n"
        )
        sock = gateway.lab.client.socket(socket.AF_INET)
        with sock:
            sock.setblocking(False)
            sock.connect_ex(address)
            until(lambda: "drop_untracked" in gateway.counters(), "it is dropped and counted")
    assert gateway.counters()["untouched"] == 1


@pytest.mark.parametrize("existing", ["drop", "pass"])
def test_connections_older_than_the_program(gateway: Gateway, existing: str) -> None:
    with gateway.listening() as listener, gateway.lab.client.connect(draw_destination(4)) as sock:
        accepted, _ = listener.accept()
        with accepted:
            sock.sendall(b"before")
            assert accepted.recv(100) == b"before"
            gateway.command("attach", DEVICE, "--existing", existing)
            sock.sendall(b"after")
            if existing == "pass":
                assert accepted.recv(100) == b"after"
            else:
                until(lambda: "drop_no_syn" in gateway.counters(), "it is dropped and counted")
        gateway.visit(listener)


def test_connections_outlive_the_program(gateway: Gateway) -> None:
    """Once the header has arrived, a connection does not need the program any more."""
    gateway.command("attach", DEVICE)
    with gateway.listening() as listener, gateway.lab.client.connect(draw_destination(4)) as sock:
        accepted, _ = listener.accept()
        with accepted:
            sock.sendall(b"one")
            assert read_header(accepted)[1] in (b"", b"one")
            gateway.command("detach", DEVICE)
            sock.sendall(b"two")
            accepted.settimeout(20)
            got = b""
            while not got.endswith(b"two"):
                got += accepted.recv(100)


def test_a_full_table_refuses_only_new_connections(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, "--max-flows", "2")
    with gateway.listening() as listener:
        for _ in range(2):
            gateway.visit(listener)
        sock = gateway.lab.client.socket(socket.AF_INET)
        with sock:
            sock.setblocking(False)
            sock.connect_ex(draw_destination(4))
            until(lambda: "drop_flow_limit" in gateway.counters(), "the table is full")
        # A connection that is not selected passes.
        with gateway.lab.server.listen("0.0.0.0") as other:
            address = gateway.lab.server.address(), other.getsockname()[1]
            gateway.lab.client.connect(address).close()


def test_flows_end_with_conntracks_entry(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, "--sweep", "1")
    gateway.lab.gateway.sysctl({"net.netfilter.nf_conntrack_tcp_timeout_time_wait": 1})
    gateway.lab.gateway.sysctl({"net.netfilter.nf_conntrack_tcp_timeout_close": 1})
    with gateway.listening() as listener:
        gateway.visit(listener)
    assert gateway.counters()["flows_opened"] == 1
    until(lambda: "flows" not in gateway.counters(), "the timer deletes the flow")


def test_one_armed_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    """A client in the server's own network could send packets in the server's name."""
    lab = gateway.lab
    with gateway.listening():
        gateway.command("attach", DEVICE)
        lab.server.ip("addr", "add", "10.77.2.9/24", "dev", "gateway")
        lab.gateway.ip(
            *("neigh", "replace", "10.77.2.9", "nud", "permanent", "dev", DEVICE),
            *("lladdr", lab.topology.hardware("server", "gateway")),
        )
        lab.server.ip("route", "add", "198.18.0.0/15", "via", lab.gateway.address(4, "server"))
        sock = lab.server.socket(socket.AF_INET)
        with sock:
            sock.setblocking(False)
            sock.bind(("10.77.2.9", 0))
            sock.connect_ex(draw_destination(4))
            until(lambda: "drop_one_armed" in gateway.counters(), "it is dropped and counted")
    refused = gateway.command("attach", DEVICE, "--one-armed", check=False)
    assert refused.returncode == 2
    assert "--auth-key-file" in refused.stderr


def test_status_for_programs(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE, *gateway.backends(8080))
    with gateway.listening() as listener:
        assert gateway.lab.client.connect(draw_destination(4)).close() is None
        listener.accept()[0].close()
    (found,) = json.loads(gateway.command("status", DEVICE, "--json").stdout)
    assert (found["device"], found["attached"], found["selection"]) == (DEVICE, True, "backends")
    text = gateway.command("status", DEVICE, "--prometheus").stdout
    assert f'ctwsgi_gateway_dropped_total{{device="{DEVICE}",reason="no_syn"}} 0\n' in text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(line.rpartition(" ")[2].isdecimal() for line in samples)
    output = gateway.command("status", DEVICE).stdout
    assert output.startswith(f"{DEVICE}: attached, backends, headers unsigned\n")


def test_detach_leaves_nothing(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE)
    assert gateway.command("detach", DEVICE).stdout == f"{DEVICE}: detached\n"
    shown = gateway.lab.gateway.run(["tc", "qdisc", "show", "dev", DEVICE]).stdout
    assert "clsact" not in shown
    assert gateway.command("detach", DEVICE).stdout == f"{DEVICE}: nothing was attached\n"
    refused = gateway.command("status", DEVICE, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nothing is attached" in refused.stderr


def test_a_device_that_vanishes_leaves_nothing_for_long() -> None:
    """The next attach in any namespace removes the pins of a device that is gone."""
    with Gateway() as gone:
        gone.command("attach", DEVICE)
        with gone.listening() as listener:
            gone.visit(listener)  # from now on the timer holds the program
        left = BPFFS / "ctwsgi" / str(gone.lab.gateway.inode)
        assert left.exists()
        # From now on also a test beside this one may tidy up.
        gone.lab.gateway.ip("link", "del", DEVICE)
        with Gateway() as other:
            other.command("attach", DEVICE)
            assert not left.exists()
            assert other.status()["attached"]


def test_one_command_at_a_time(gateway: Gateway) -> None:
    """Two commands at once could pin some maps of each."""
    gateway.command("attach", DEVICE)
    code = "from ctwsgi.cli import main; from ctwsgi.ebpf import pins; pins.LOCK_WAIT = 0;main()"
    impatient = [sys.executable, "-c", code, "gateway"]
    folder = os.open(ALL_PINS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        for words in (["attach", DEVICE], ["detach", DEVICE]):
            refused = gateway.lab.gateway.run([*impatient, *words], check=False)
            assert refused.returncode == 2
            [line] = refused.stderr.splitlines()
            assert f"another `ctwsgi gateway` command holds {ALL_PINS}" in line
    finally:
        os.close(folder)
    assert gateway.status()["attached"]
    # Whoever could open the folder could lock it.
    assert stat.S_IMODE(ALL_PINS.stat().st_mode) == 0o700


def closing(gateway: Gateway, value: bool) -> None:
    """Set `closing` as `detach` does; a `detach` that was killed leaves it set."""
    code = f"from ctwsgi.ebpf.injector import Injector as I; I({DEVICE!r}).change(closing={value})"
    gateway.lab.gateway.run([sys.executable, "-c", code])


def test_nothing_begins_while_it_closes(gateway: Gateway) -> None:
    gateway.command("attach", DEVICE)
    with gateway.listening() as listener, gateway.lab.client.connect(draw_destination(4)) as older:
        accepted, _ = listener.accept()
        with accepted, gateway.lab.client.socket(socket.AF_INET) as waits:
            closing(gateway, True)
            waits.setblocking(False)
            waits.connect_ex(draw_destination(4))
            until(lambda: "drop_unloading" in gateway.counters(), "it is dropped and counted")
            older.sendall(b"older")
            assert read_header(accepted)[1] in (b"", b"older")
            # The next attach clears what a killed detach has left.
            gateway.command("attach", DEVICE)
            accepted, _ = listener.accept()
            with accepted:
                assert read_header(accepted)[0].src == waits.getsockname()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("phase", ["open", "syn"])
def test_detach_resets_what_is_being_opened(gateway: Gateway, phase: str, version: int) -> None:
    """Client and server are reset, so neither waits, and the server has no half-open connection."""
    gateway.command("attach", DEVICE)
    lab = gateway.lab
    with gateway.listening(version) as listener:
        port = listener.getsockname()[1]
        gateway.hold_back(phase, port)
        sock = lab.client.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
        half = ("ss", "-Htn", "state", "syn-recv", "sport", "=", f":{port}")
        with sock:
            sock.settimeout(20)
            if phase == "open":
                sock.connect(draw_destination(version))
            else:
                sock.setblocking(False)
                sock.connect_ex(draw_destination(version))
            until(lambda: lab.server.run(half).stdout, "the server has half a connection")
            output = gateway.command("detach", DEVICE).stdout
            assert output.endswith("reset because their header had not arrived: 1\n")
            # Sooner than the server gives it up by itself.
            until(lambda: not lab.server.run(half).stdout, "it is reset at the server", 20)
            code = errno.ECONNRESET if phase == "open" else errno.ECONNREFUSED
            assert until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "") == code


def test_the_filters_of_others_stay(gateway: Gateway) -> None:
    tc = ["tc", "filter", "add", "dev", DEVICE]
    gateway.command("attach", DEVICE)
    accepts_nothing = ("bpf", "bytecode", "1,6 0 0 0,")
    gateway.lab.gateway.run([*tc, "ingress", "prio", "5", *accepts_nothing])
    gateway.command("detach", DEVICE)
    shown = gateway.lab.gateway.run(["tc", "filter", "show", "dev", DEVICE, "ingress"]).stdout
    assert "pref 5 bpf" in shown
    assert "ctwsgi" not in shown


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        ("", "nothing0", "no device"),
        ("", "lo", "--source conntrack"),
        ("add bridge0 type bridge; set server master bridge0", "server", "attach to bridge0"),
        ("set server mtu 500", "server", "MTU is 500"),
        ("add gre1 type gre local 10.77.2.1 remote 10.77.2.2", "gre1", "not supported"),
    ],
)
def test_unsupported_devices(gateway: Gateway, make: str, name: str, reason: str) -> None:
    try:
        for words in filter(None, make.split("; ")):
            gateway.lab.gateway.ip("link", *words.split())
    except LabError as e:
        pytest.skip(f"this kernel has no such device: {e}")
    refused = gateway.command("attach", name, check=False)
    assert refused.returncode == 2
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr
