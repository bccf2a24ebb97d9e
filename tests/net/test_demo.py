"""`make demo` from outside: what it prints, that it can fail, and that it leaves nothing behind."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import NOWHERE, Lab, LabError, draw_destination, unavailable, until
from tests.lab.legs import LOCAL, Mismatch, Service
from tests.lab.outside import running_with, unprivileged
from tests.lab.requirements import SEARCH
from tests.lab.rules import redirect

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

ROOT = Path(__file__).parents[2]
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

VISIT = re.compile(r"ok (\S+) (\S+) \[?([0-9a-f.:]+?)\]?:(\d+)")


@pytest.fixture
def mark():
    """An environment entry by which the demo's processes are known; none may outlive the test."""
    mark = f"LAB_TEST_MARK={uuid.uuid4()}"
    yield mark
    until(lambda: not running_with(mark), "the end of all processes of the demo")


def start(command, mark):
    name, _, value = mark.partition("=")
    return subprocess.Popen(
        command,
        env={**os.environ, "PATH": SEARCH, name: value},
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def visits(lines):
    return [match.groups() for line in lines if (match := VISIT.fullmatch(line))]


def test_every_leg_and_every_refusal(mark):
    demo = start(DEMO, mark)
    out, err = demo.communicate(timeout=100)
    introduction, *lines, last = out.splitlines()
    assert (demo.returncode, err) == (0, ""), out
    assert "injector: relay" in introduction
    assert last == f"{len(WANTED) + len(REFUSED)} passed, 0 failed"
    seen = set()
    for source, topology, host, _ in visits(lines):
        version = ipaddress.ip_address(host).version
        assert ipaddress.ip_address(host) in NOWHERE[version]
        seen.add((source, topology, version))
    assert seen == WANTED
    refusals = [line.removeprefix("ok refused ") for line in lines if "refused" in line]
    assert sorted(refusals) == sorted(REFUSED)
    assert running_with(mark) == []


def test_without_root_and_beside_another(mark):
    """Two at once, each drawing its own destinations."""
    demos = [start(unprivileged(DEMO), mark) for _ in range(2)]
    outputs = [demo.communicate(timeout=100) for demo in demos]
    drawn = []
    for demo, (out, err) in zip(demos, outputs, strict=True):
        assert (demo.returncode, err) == (0, ""), out
        assert "a user namespace" in out.splitlines()[0]
        drawn.append({(host, port) for _, _, host, port in visits(out.splitlines())})
    assert len(drawn[0]) == len(drawn[1]) == len(WANTED)
    assert not drawn[0] & drawn[1]


def test_it_fails_without_the_guard(mark):
    demo = start([*DEMO, "--without-guard"], mark)
    out, _ = demo.communicate(timeout=100)
    failed = [line for line in out.splitlines() if line.startswith("not ok ")]
    assert demo.returncode == 1
    assert failed == [
        "not ok refused direct-dial (input): the direct SYN was answered",
        "not ok refused direct-dial (forward): the direct SYN was answered",
    ]
    assert out.endswith("passed, 2 failed\n")


def test_a_visit_with_another_answer_is_not_ok():
    """The checks behind the lines: each fact that differs is named."""
    with Lab() as lab:
        service = Service(lab, LOCAL, lab.scratch / "no-keys")
        service.ready()
        with pytest.raises(Mismatch, match=r"orig_dst is None, not \['10\.77\.2\.2', \d+\]"):
            service.visit(service.address(4))
        with pytest.raises(LabError, match="curl"):
            service.visit((lab.server.address(4), 9))  # nobody listens there
        service.leg = replace(LOCAL, source="tproxy", verified=False)
        with (
            lab.server.rules(redirect(service.port)),
            pytest.raises(
                Mismatch, match=r"^source is 'conntrack', not 'tproxy'; verified is True"
            ),
        ):
            service.visit(draw_destination(4))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ended_midway_it_cleans_up(mark, end):
    """As Ctrl-C does: the signal goes to the whole foreground process group."""
    demo = start(DEMO, mark)
    with demo:
        until(lambda: demo.stdout.readline().startswith("ok "), "the first visit")
        os.killpg(demo.pid, end)
        out, err = demo.communicate(timeout=60)
    assert demo.returncode == 128 + end
    assert "passed" not in out
    assert "Traceback" not in err
    assert running_with(mark) == []


def test_a_missing_tool_is_named_in_one_line(mark):
    """In a mount namespace in which nft cannot be executed."""
    hide = 'mount --bind /dev/null "$(command -v nft)"; exec "$@"'
    user = ["--map-root-user"] if os.geteuid() else []
    demo = start(["unshare", *user, "--mount", "sh", "-c", hide, "sh", *DEMO], mark)
    out, err = demo.communicate(timeout=60)
    assert (demo.returncode, out) == (1, "")
    assert err == "demo: the lab needs nft: apt-get install nftables\n"
