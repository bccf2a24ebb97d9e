# SPDX-License-Identifier: MIT
"""The scanner of kernel logs: what it flags, to which case, and what it lets pass."""

from __future__ import annotations

import pytest

from .kmsg import scan

COMPLAINTS = [
    ("WARN", "<4>[    5.1] WARNING: CPU: 0 PID: 9 at net/core/skbuff.c:557 skb_release+0x1/0x2"),
    ("BUG", "<1>[    5.1] BUG: kernel NULL pointer dereference, address: 0000000000000008"),
    ("BUG", "<2>[    5.1] kernel BUG at net/core/skbuff.c:205!"),
    ("BUG", "<0>[   29.1] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [python3:150]"),
    ("BUG", "<3>[    5.1] BUG: sleeping function called from invalid context at mm/slab.h:5"),
    ("BUG", "<3>[    5.1] BUG kmalloc-64 (Not tainted): Redzone overwritten"),
    ("oops", "<4>[    5.1] Oops: 0002 [#1] PREEMPT SMP NOPTI"),
    ("oops", "<4>[    5.1] general protection fault, probably for non-canonical address"),
    ("panic", "<0>[    5.1] Kernel panic - not syncing: Fatal exception in interrupt"),
    ("KASAN", "<3>[    5.1] KASAN: slab-use-after-free in ctframe_forward+0x2f/0x90 [ctinject]"),
    ("UBSAN", "<3>[    5.1] UBSAN: shift-out-of-bounds in kmod/ctinject/framemap.c:70:3"),
    ("refcount", "<4>[    5.1] refcount_t: underflow; use-after-free."),
    ("lockdep", "<4>[    5.1] WARNING: possible circular locking dependency detected"),
    ("lockdep", "<4>[    5.1] WARNING: suspicious RCU usage"),
    ("lockdep", "<4>[    5.1] WARNING: inconsistent lock state"),
    ("RCU stall", "<3>[   26.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"),
    ("RCU stall", "<3>[   26.1] rcu: INFO: rcu_preempt self-detected stall on CPU"),
    ("lockup", "<3>[  242.1] INFO: task rmmod:99 blocked for more than 120 seconds."),
    ("kmemleak", "<5>[    5.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug)"),
    ("memory", "<4>[    5.1] python3: page allocation failure: order:4, mode:0x40820"),
    ("netns leak", "<0>[   15.1] unregister_netdevice: waiting for veth0 to become free."),
    (
        "conntrack INVALID",
        "<4>[    5.1] nf_ct_proto_6: invalid packet ignored in state ESTABLISHED",
    ),
    (
        "conntrack INVALID",
        "<4>[    5.1] nf_ct_proto_6: ACK is over upper bound (overshot) IN= OUT=",
    ),
    ("conntrack full", "<4>[    5.1] nf_conntrack: nf_conntrack: table full, dropping packet"),
    ("error", "<3>[    5.1] ctinject: something that no pattern knows"),
]

QUIET = [
    "<6>[    5.1] ctinject: loaded",
    "<4>[    5.1] ctinject: module verification failed: signature and/or required key missing",
    "<4>[    5.1] ctinject: loading out-of-tree module taints kernel.",
    "<6>[    5.1] IPv6: ADDRCONF(NETDEV_CHANGE): veth0: link becomes ready",
    "<4>[    5.1] INFO: NMI handler (nmi_cpu_backtrace_handler) took too long to run: 1.9 msecs",
    "<3>[    5.1] ip_local_port_range: prefer different parity for start/end values.",
    "<6>[    5.1] device veth0 entered promiscuous mode",
]

COMMAND = "<14>[    3.0] ctwsgi: command\n"


@pytest.mark.parametrize(("kind", "line"), COMPLAINTS)
def test_complaint(kind: str, line: str) -> None:
    [finding] = scan(f"{COMMAND}{line}\n")
    # Some match two patterns (a lockdep splat is a WARNING as well); either name is right.
    assert finding.kind in (kind, "WARN", "BUG")
    assert finding.count == 1
    assert line.partition("] ")[2] in str(finding)


def test_quiet() -> None:
    assert scan(COMMAND + "\n".join(QUIET)) == []


def test_what_came_before_the_command_is_not_ours() -> None:
    assert scan(f"<3>[    0.5] firmware: failed\n{COMMAND}") == []


def test_case_is_named() -> None:
    log = COMMAND
    log += "<14>[    4.0] ctwsgi: case matrix/one\n<14>[    5.0] ctwsgi: case matrix/two\n"
    log += "<4>[    5.1] nf_ct_proto_6: bad checksum\n<4>[    5.2] nf_ct_proto_6: bad checksum\n"
    log += "<14>[    6.0] ctwsgi: case matrix/three\n"
    [finding] = scan(log)
    assert (finding.case, finding.count) == ("matrix/two", 2)


def test_dump_is_one_finding() -> None:
    log = COMMAND + (
        "<4>[    5.10] ------------[ cut here ]------------\n"
        "<4>[    5.10] WARNING: CPU: 0 PID: 9 at net/core/skbuff.c:557 skb_release+0x1/0x2\n"
        "<4>[    5.10] Modules linked in: ctinject(OE) veth nf_conntrack\n"
        "<4>[    5.11] Call Trace:\n"
        "<4>[    5.11]  <TASK>\n"
        "<4>[    5.12]  ctinject_forward+0x2/0x3 [ctinject]\n"
        "<4>[    5.13] ---[ end trace 0000000000000000 ]---\n"
        "<4>[    5.14] nf_ct_proto_6: invalid SYN\n"
    )
    first, second = scan(log)
    assert first.kind == "WARN"
    assert "ctinject_forward" in "\n".join(first.lines)
    assert second.kind == "conntrack INVALID"


def test_panic_repeats_the_log() -> None:
    """A console has no levels: it shows the serious lines, then the whole log, then the panic."""
    log = "[    5.1] BUG: kernel NULL pointer dereference\n"
    log += "[    3.0] ctwsgi: command\n[    4.0] ctwsgi: case life/unload\n"
    log += "[    5.1] BUG: kernel NULL pointer dereference\n[    5.1] Call Trace:\n"
    log += (
        "[    5.2] Kernel panic - not syncing: Fatal exception\n[    5.2] Kernel Offset: disabled\n"
    )
    [finding] = scan(log)
    assert (finding.kind, finding.case) == ("BUG", "life/unload")
    assert "Kernel panic" in finding.lines[-1]
