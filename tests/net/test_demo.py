# SPDX-License-Identifier: MIT
"""`make demo` seen from outside: its output, its failures, and that it leaves nothing behind."""

from __future__ import annotations

import ipaddress
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests import ROOT
from tests.lab import NOWHERE, Lab, LabError, draw_destination, unavailable, until
from tests.lab.demo import Report
from tests.lab.ebpf import why_no_ebpf
from tests.lab.legs import LOCAL, Mismatch, Service
from tests.lab.module import why_no_module
from tests.lab.outside import running_with, unprivileged
from tests.lab.refusals import guard_at_gateway, guard_at_server
from tests.lab.rules import redirect

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

DEMO = [sys.executable, "-m", "tests.lab.demo", "--visits", "1"]

WANTED = {
    ("ctframe", "dnat", 4),
    ("proxy", "dnat", 4),
    ("proxy", "dnat", 6),
    ("proxy", "dnat-signed", 4),
    ("proxy", "dnat-signed", 6),
    ("conntrack", "redirect", 4),
    ("conntrack", "redirect", 6),
    ("tproxy", "tproxy", 4),
    ("tproxy", "tproxy", 6),
}
WANTED_OF_EBPF = {("proxy", "ebpf-gateway-signed", 4), ("proxy", "ebpf-gateway-signed", 6)}
WANTED_OF_THE_MODULE = {
    ("ctframe", "module-gateway", 4),
    ("ctframe", "module-local", 4),
    ("proxy", "module-gateway-signed", 4),
    ("proxy", "module-gateway-signed", 6),
    ("proxy", "module-local-signed", 4),
    ("proxy", "module-local-signed", 6),
}
REFUSED = {
    "direct-dial (input)",
    "direct-dial (forward)",
    "auth-missing",
    "auth-tag",
    "auth-key-id",
    "auth-time",
    "auth-v1",
    "untrusted-peer",
}

PORTAL_STEPS = 7
LINES_BEFORE_PORTAL = 2 + len(WANTED) + len(REFUSED)
"""At least: an introduction of two lines or more, and the legs that are always there."""

VISIT = re.compile(r"ok (\S+) (\S+) \[?([0-9a-f.:]+?)\]?:(\d+)")


@contextmanager
def marked():
    """An environment entry by which the demo's processes are known; none may outlive the `with`."""
    mark = f"LAB_TEST_MARK={uuid.uuid4()}"
    yield mark
    until(lambda: not running_with(mark), "the end of all processes of the demo")


@pytest.fixture
def mark():
    with marked() as mark:
        yield mark


def start(command, mark, **environ):
    name, _, value = mark.partition("=")
    return subprocess.Popen(
        command,
        env={**os.environ, name: value, **environ},
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def visits(lines):
    return [match.groups() for line in lines if (match := VISIT.fullmatch(line))]


@pytest.fixture(scope="module")
def module():
    """Why the demo does not show the kernel module here, or None; the guests show it."""
    return why_no_module()


@pytest.fixture(scope="module")
def ebpf():
    """Why the demo does not show the eBPF program here, or None."""
    return why_no_ebpf()


@pytest.fixture
def wanted(ebpf, module):
    """The legs that the demo has to show, each with an IP version."""
    return (
        WANTED | (set() if ebpf else WANTED_OF_EBPF) | (set() if module else WANTED_OF_THE_MODULE)
    )


@pytest.fixture(scope="module")
def finished():
    """(exit status, output, errors) of two demos side by side: one as we are, one without root."""
    with marked() as mark:
        demos = [start(command, mark) for command in (DEMO, unprivileged(DEMO))]
        outputs = [demo.communicate(timeout=240) for demo in demos]
        ended = [(demo.returncode, *output) for demo, output in zip(demos, outputs, strict=True)]
        assert running_with(mark) == []
    return ended


def test_every_leg_and_every_refusal(finished, ebpf, module, wanted):
    status, out, err = finished[0]
    introduction, *lines, last = out.splitlines()
    assert (status, err) == (0, ""), out
    assert ("module ctinject" in introduction) == (not module)
    assert ("eBPF program" in introduction) == (not ebpf)
    assert (f"no kernel module here: {module}" in lines) == bool(module)
    assert (f"no eBPF here: {ebpf}" in lines) == bool(ebpf)
    assert last == f"{len(wanted) + len(REFUSED) + PORTAL_STEPS} passed, 0 failed"
    seen = set()
    for source, topology, host, _ in visits(lines):
        version = ipaddress.ip_address(host).version
        assert ipaddress.ip_address(host) in NOWHERE[version]
        seen.add((source, topology, version))
    assert seen == wanted
    refusals = [
        line.removeprefix("ok refused ") for line in lines if line.startswith("ok refused ")
    ]
    assert sorted(refusals) == sorted(REFUSED)


def test_without_root(finished, wanted):
    status, out, err = finished[1]
    introduction, *lines, last = out.splitlines()
    assert (status, err) == (0, ""), out
    assert "a user namespace" in introduction
    wanted = wanted - WANTED_OF_EBPF
    assert len(visits(lines)) == len(wanted)
    assert last == f"{len(wanted) + len(REFUSED) + PORTAL_STEPS} passed, 0 failed"


def test_each_draws_its_own_destinations(finished):
    drawn = [
        {(host, port) for _, _, host, port in visits(out.splitlines())} for _, out, _ in finished
    ]
    assert drawn[0]
    assert drawn[1]
    assert not drawn[0] & drawn[1]


@pytest.mark.full
def test_it_fails_without_the_guard(mark):
    demo = start([*DEMO, "--without-guard", "--without-portal", "--without-ebpf"], mark)
    out, _ = demo.communicate(timeout=240)
    failed = [line for line in out.splitlines() if line.startswith("not ok ")]
    assert demo.returncode == 1
    assert failed == [
        "not ok refused direct-dial (input): the direct SYN was answered",
        "not ok refused direct-dial (forward): the direct SYN was answered",
    ]
    assert out.endswith("passed, 2 failed\n")


def test_the_checks_of_the_guard_fail_without_it(service):
    for check in (guard_at_server, guard_at_gateway):
        with pytest.raises(Mismatch, match="the direct SYN was answered"):
            check(service, standing=False)


@pytest.fixture(scope="module")
def service():
    """The leg with REDIRECT on the server, in a lab of its own."""
    with Lab() as lab:
        service = Service(lab, LOCAL, lab.scratch / "no-keys")
        service.ready()
        yield service


def test_a_failed_check_fails_the_demo(capfd):
    report = Report()

    def fail():
        raise Mismatch("another answer")

    report.check("first", fail)
    report.check("second", lambda: None)
    assert (report.passed, report.failed) == (1, 1)
    assert capfd.readouterr().out == "not ok first: another answer\nok second\n"


def test_a_visit_with_another_answer_is_not_ok(service):
    """The check of a visit names each fact that differs."""
    server = service.lab.server
    with pytest.raises(Mismatch, match=r"orig_dst is None, not \['10\.77\.2\.2', \d+\]"):
        service.visit(service.address(4))
    with pytest.raises(LabError, match="curl"):
        service.visit((server.address(4), 9))  # nobody listens there
    service.leg = replace(LOCAL, source="tproxy", verified=False)
    differs = r"^source is 'conntrack', not 'tproxy'; verified is True"
    with server.rules(redirect(service.port)), pytest.raises(Mismatch, match=differs):
        service.visit(draw_destination(4))


@pytest.mark.parametrize(
    "end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
def test_ended_midway_it_cleans_up(mark, end):
    """As Ctrl-C does: the signal goes to the whole foreground process group."""
    demo = start(DEMO, mark)
    with demo:
        until(lambda: demo.stdout.readline().startswith("ok "), "the first visit")
        os.killpg(demo.pid, end)
        out, err = demo.communicate(timeout=120)
    assert demo.returncode == 128 + end
    assert "passed" not in out
    assert err == f"ended by {end.name}; the lab is gone\n"
    assert running_with(mark) == []


@pytest.mark.parametrize(
    "trial", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, 20))]
)
def test_ended_at_any_moment_it_cleans_up(mark, trial, tmp_path):
    """The signal comes at a random moment, to the process or to its whole group.

    It comes before the portal's first line, so that the demo cannot end by itself before.
    """
    lines, pause = random.randrange(LINES_BEFORE_PORTAL), random.uniform(0, 0.5)
    end, kill = random.choice([1, 2, 15]), random.choice([os.kill, os.killpg])
    demo = start(DEMO, mark, TMPDIR=str(tmp_path))
    with demo:
        until(lambda: running_with(mark)[1:], "a process of the demo's")
        for _ in range(lines):
            demo.stdout.readline()
        time.sleep(pause)  # a random moment, not an event
        kill(demo.pid, end)
        out, err = demo.communicate(timeout=120)
    told = f"{kill.__name__}({end}) {pause:.2f} s after line {lines}: {out}{err}"
    assert demo.returncode == 128 + end, told
    assert "Traceback" not in err, told
    assert running_with(mark) == [], told
    assert list(tmp_path.iterdir()) == [], told


FORBIDDING = """
echo 0 > /proc/sys/user/max_user_namespaces
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""


def test_without_user_namespaces_it_says_what_to_type(mark):
    """In a user namespace that may have none below it, and without root's rights."""
    command = ["unshare", "--map-root-user", "sh", "-ec", FORBIDDING, "sh", *DEMO]
    demo = start(command, mark)
    out, err = demo.communicate(timeout=120)
    assert (demo.returncode, out) == (1, "")
    assert err == (
        "demo: the lab needs root or user namespaces, and user.max_user_namespaces is 0: "
        "as root, type `sysctl -w user.max_user_namespaces=10000`; or run this as root\n"
    )


def test_a_missing_tool_is_named_in_one_line(mark):
    """In a mount namespace in which nft cannot be executed."""
    hide = 'mount --bind /dev/null "$(command -v nft)"; exec "$@"'
    user = ["--map-root-user"] if os.geteuid() else []
    demo = start(["unshare", *user, "--mount", "sh", "-c", hide, "sh", *DEMO], mark)
    out, err = demo.communicate(timeout=120)
    assert (demo.returncode, out) == (1, "")
    assert err == "demo: the lab needs nft: apt-get install nftables\n"
