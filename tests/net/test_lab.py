# SPDX-License-Identifier: MIT
"""The lab itself: its rules work, with root and without, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import ExitStack, closing

import pytest

from ctwsgi.linux import original_destination
from tests import ROOT
from tests.lab import (
    NOWHERE,
    Host,
    Lab,
    LabError,
    Topology,
    Wire,
    draw_destination,
    living_in,
    unavailable,
    until,
)
from tests.lab.outside import running_with, unprivileged
from tests.lab.requirements import missing_tools
from tests.lab.rules import dnat, guard, redirect, tproxy

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

IP_TRANSPARENT = 19  # linux/in.h
IPV6_TRANSPARENT = 75  # linux/in6.h
ANY = {4: "0.0.0.0", 6: "::"}


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        yield lab


@pytest.fixture
def listener(lab, version):
    with lab.server.listen(ANY[version]) as listener:
        yield listener


def visit(lab, listener, destination):
    """Dials `destination` from the client; gives the server's end of the connection."""
    with lab.client.connect(destination) as dialled:
        accepted, _ = listener.accept()
        dialled.sendall(b"ping")
        assert accepted.recv(4) == b"ping"
        return accepted


@pytest.mark.parametrize("version", [4, 6])
def test_redirect(lab, listener, version):
    destination = draw_destination(version)
    with (
        lab.server.rules(redirect(listener.getsockname()[1])),
        visit(lab, listener, destination) as accepted,
    ):
        assert original_destination(accepted) == destination


@pytest.mark.parametrize("version", [4, 6])
def test_dnat_to_another_host(lab, listener, version):
    """The entry is on the gateway, where the server cannot ask."""
    port = listener.getsockname()[1]
    rules = dnat((lab.server.address(4), port), (lab.server.address(6), port))
    with (
        lab.gateway.rules(rules),
        visit(lab, listener, draw_destination(version)) as accepted,
    ):
        assert accepted.getsockname()[:2] == (lab.server.address(version), port)
        assert accepted.getpeername()[0] == lab.client.address(version)
        assert original_destination(accepted) is None


@pytest.mark.parametrize("version", [4, 6])
def test_tproxy(lab, version):
    destination = draw_destination(version)
    with lab.server.socket(socket.AF_INET if version == 4 else socket.AF_INET6) as listener:
        if version == 4:
            listener.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        listener.settimeout(30)
        listener.bind((ANY[version], 0))
        listener.listen()
        with (
            lab.server.marked_delivery(),
            lab.server.rules(tproxy(listener.getsockname()[1])),
            visit(lab, listener, destination) as accepted,
        ):
            assert accepted.getsockname()[:2] == destination


def test_without_a_rule_nowhere_is_unreachable(lab):
    """The server drops what is for other addresses, so a visit can succeed only through a rule."""
    with lab.client.socket(socket.AF_INET) as sock:
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.connect(draw_destination(4))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("place", ["input", "forward"])
def test_guard(lab, listener, version, place):
    port = listener.getsockname()[1]
    if place == "input":
        guarded, translation = lab.server, redirect(port)
    else:
        guarded = lab.gateway
        translation = dnat((lab.server.address(4), port), (lab.server.address(6), port))
    direct = (lab.server.address(version), port)
    with guarded.rules(translation), guarded.rules(guard(port, place)):
        visit(lab, listener, draw_destination(version)).close()
        with lab.client.socket(socket.AF_INET if version == 4 else socket.AF_INET6) as sock:
            sock.setblocking(False)
            assert sock.connect_ex(direct) != 0
            until(lambda: guarded.dropped(guard(port, place)), "the guard's counter")
            with pytest.raises(OSError, match="not connected"):
                sock.getpeername()
    visit(lab, listener, direct).close()


def test_a_topology_of_ones_own():
    """Two hosts on a wire with another MTU: a Topology is all that a lab needs."""
    topology = Topology(hosts=(Host("a"), Host("b")), wires=(Wire("a", "b", mtu=1300),))
    with (
        Lab(topology) as lab,
        lab.b.listen("::") as listener,
        lab.a.connect((lab.b.address(6), listener.getsockname()[1])),
    ):
        assert "mtu 1300" in lab.a.ip("link", "show", "dev", "b")
        with pytest.raises(AttributeError, match="no host named 'c'"):
            _ = lab.c


def test_two_labs_at_once_do_not_meet(lab):
    with Lab() as other, lab.server.listen("0.0.0.0") as listener:
        port = listener.getsockname()[1]
        lab.client.connect((lab.server.address(), port)).close()
        with pytest.raises(ConnectionRefusedError):
            other.client.connect((other.server.address(), port))


def test_run_reports_what_failed(lab):
    with pytest.raises(LabError, match=r"client: ip link show nosuch: .*nosuch"):
        lab.client.run(["ip", "link", "show", "nosuch"])
    with pytest.raises(LabError, match=r"gateway: nft -f -: .*syntax error"):
        lab.gateway.nft("no such rule")


def test_a_process_that_ends_early_is_told_with_its_output(lab):
    process = lab.server.popen(["sh", "-c", "echo so sorry; exit 3"])
    with pytest.raises(RuntimeError, match=r"ended with 3 before listeners at \(1,\):\nso sorry"):
        process.wait_listening(1)


def test_wait_listening_looks_into_the_processs_own_namespace(lab):
    """A listener at the same port outside the lab or on another host does not count."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        with lab.client.listen("0.0.0.0", port):
            process = lab.server.popen(["sleep", "60"])
            with pytest.raises(TimeoutError, match="listeners"):
                process.wait_listening(port, deadline=0.5)
        assert process.stop() == -signal.SIGTERM


def test_drawn_addresses_are_in_their_prefix():
    for version in (4, 6):
        drawn = {draw_destination(version) for _ in range(50)}
        assert len(drawn) == 50
        assert {type(NOWHERE[version][0])(host) in NOWHERE[version] for host, _ in drawn} == {True}
        assert all(0 < port < 65536 for _, port in drawn)


def test_missing_tools_are_named_in_one_line(tmp_path):
    (tmp_path / "ip").symlink_to("/bin/true")
    assert missing_tools(str(tmp_path)) == (
        "the lab needs nft, curl, unshare, nsenter: apt-get install curl nftables util-linux"
    )
    assert missing_tools() is None


def test_an_ordinary_users_path_is_enough():
    code = "import shutil, tests; print(shutil.which('nft'))"  # it is in /usr/sbin
    environ = {**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    run = [sys.executable, "-c", code]
    found = subprocess.check_output(run, cwd=ROOT, env=environ, text=True)
    assert found.endswith("/nft\n")


def test_the_lab_takes_everything_away():
    """Also a process that ignores SIGTERM, and one that has left its session."""
    with ExitStack() as kept:
        with Lab(grace=0.5) as lab:
            kept.enter_context(lab.namespaces_kept())
            namespaces = [lab.client.inode, lab.server.inode]
            stubborn = lab.server.popen(
                ["sh", "-c", "trap '' TERM; echo on; sleep 61 & wait; wait"]
            )
            stubborn.wait_log("on")
            lab.client.popen(["sh", "-c", "setsid sleep 62 & echo on"]).wait_log("on")
            scratch = lab.scratch
            (scratch / "key").write_text("secret")
            assert len(living_in(namespaces)) >= 2
        assert living_in(namespaces) == []
    assert not scratch.exists()


_HOLD = """
import sys
from tests.lab import Lab
with Lab() as lab:
    lab.server.popen(["sleep", "60"])
    print("rootless" if lab.rootless else "root", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_lab_whose_process_is_ended(end):
    """By Ctrl-C, by a SIGTERM without a handler, by SIGKILL: the keeper notices the end."""
    mark = f"LAB_TEST_MARK={uuid.uuid4()}"
    name, _, value = mark.partition("=")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        env={**os.environ, name: value}, cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with holder, closing(holder.stdin):
        assert holder.stdout.readline() in (b"root\n", b"rootless\n")
        # Itself, the keeper, and the sleeper, whose environment cannot be read during its exec.
        until(lambda: len(running_with(mark)) >= 3, "three processes")
        holder.send_signal(end)
        holder.wait(30)
    until(lambda: not running_with(mark), "the end of all processes of the lab")


_VISIT = """
from ctwsgi.linux import original_destination
from tests.lab import Lab, draw_destination
from tests.lab.rules import redirect
with Lab() as lab, lab.server.listen("0.0.0.0") as listener:
    with lab.server.rules(redirect(listener.getsockname()[1])):
        destination = draw_destination(4)
        with lab.client.connect(destination), listener.accept()[0] as accepted:
            assert original_destination(accepted) == destination
    print(lab.rootless)
"""


def test_without_root():
    command = unprivileged([sys.executable, "-c", _VISIT])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_by_hand():
    """`python -m tests.lab COMMAND` has the names for `ip netns`, and gives the exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab", "sh", "-c", "ip netns list; pwd; exit 7"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 7
    words = done.stdout.split()
    assert {"client", "gateway", "server", str(ROOT)} <= set(words)
