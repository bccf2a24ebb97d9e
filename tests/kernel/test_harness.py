# SPDX-License-Identifier: MIT
"""Real guests: the harness reports a command's status, a panic, and a time limit.

A guest can end in these three ways, so there are three boots. test_kmsg.py and test_report.py test
the rest of the harness without a guest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from . import kmsg
from .boot import DIED, TIMED_OUT, Machine, Outcome, lacking, run
from .kernels import Kernel, NotOfferedError, first_of

pytestmark = [
    pytest.mark.skipif(bool(lacking()), reason=f"lacks {' '.join(lacking())}"),
    pytest.mark.timeout(900),
]


def offered(*series: str) -> Kernel:
    """The first of these that apt offers."""
    try:
        return first_of(*series)
    except NotOfferedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return offered()


def boot(kernel: Kernel, command: str, limit: float = 240) -> tuple[bytes, Outcome]:
    said = bytearray()
    outcome = run(kernel, command, output=said.extend, machine=Machine(limit=limit))
    return bytes(said), outcome


def test_command_that_fails(tmp_path: Path) -> None:
    said = bytearray()
    command = f"""
        cat /etc/debian_version
        test -e {Path(__file__)} && echo the project is there
        rm {Path(__file__)} && echo and is gone in the guest only
        echo written >{tmp_path}/file
        modprobe nf_conntrack && unshare --net ip -br link
        echo '<4>nf_ct_proto_6: invalid' >/dev/kmsg
        exit 7
    """
    outcome = run(offered("6.1", "6.12"), command, output=said.extend, results=tmp_path)
    assert (outcome.status, outcome.reason) == (7, "")
    assert b"the project is there\nand is gone in the guest only\n" in said
    assert b"lo " in said
    assert Path(__file__).exists()
    assert (tmp_path / "file").read_text() == "written\n"
    assert [finding.kind for finding in kmsg.scan(outcome.log)] == ["conntrack INVALID"]
    assert outcome.boot > 0
    assert outcome.seconds > 0


def test_time_is_up(kernel: Kernel) -> None:
    """At the time limit the harness makes the kernel panic, so this tests a panic as well."""
    command = "echo '<6>ctwsgi: case a/b' >/dev/kmsg; echo on; while :; do :; done"
    said, outcome = boot(kernel, command, limit=10)
    assert said == b"on\n"
    assert (outcome.status, outcome.reason) == (TIMED_OUT, "not done after 10 s")
    [finding] = kmsg.scan(outcome.log)
    assert (finding.kind, finding.case) == ("panic", "a/b")
    assert "Call Trace" in "\n".join(finding.lines)


def test_panic(kernel: Kernel) -> None:
    said, outcome = boot(kernel, "echo begun; echo c >/proc/sysrq-trigger; sleep 60")
    assert (outcome.status, outcome.reason) == (DIED, "the guest died")
    assert said == b"begun\n"
    [finding] = kmsg.scan(outcome.log)
    assert "sysrq triggered crash" in str(finding)
    assert not outcome.notes


def test_death_before_the_command_is_tried_again_once(kernel: Kernel, tmp_path: Path) -> None:
    broken = tmp_path / "vmlinux"
    broken.write_bytes(b"not a kernel")
    said, outcome = boot(replace(kernel, vmlinux=broken), "echo never")
    assert (said, outcome.status) == (b"", DIED)
    assert "kernel" in outcome.reason
    [note] = outcome.notes
    assert note.startswith("booted again: ")
