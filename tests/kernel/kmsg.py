# SPDX-License-Identifier: MIT
"""Reads a guest's kernel log: each complaint of the kernel is a failed case.

Before each case the suite in the guest writes `ctwsgi: case SUITE/CASE` into /dev/kmsg, so that a
finding belongs to the case that was running.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMAND = "ctwsgi: command"
"""guest-init.sh writes it before it runs the command. Lines before it belong to the boot."""

CASE = re.compile(r"ctwsgi: case (\S+)")

COMPLAINTS = {
    "WARN": r"WARNING: ",
    "BUG": r"\bBUG\b",
    "oops": r"\bOops\b|general protection fault|Unable to handle|unable to handle",
    "panic": r"Kernel panic",
    "KASAN": r"KASAN: |KFENCE: ",
    "UBSAN": r"UBSAN: ",
    "refcount": r"refcount_t: |list_(?:add|del) corruption|Objects remaining in",
    "lockdep": r"possible (?:recursive|circular) locking|possible irq lock inversion|"
    r"inconsistent lock state|unsafe lock order|bad unlock balance|held lock freed|"
    r"suspicious RCU usage|invalid wait context|possible deadlock|INFO: trying to register non-",
    "atomic": r"called from invalid context|scheduling while atomic",
    "RCU stall": r"rcu.*(?:detected.* stall|self-detected stall|kthread starved)",
    "lockup": r"(?:soft|hard) ?lockup|blocked for more than",
    "kmemleak": r"kmemleak: .*(?:new suspected|disabled|object)",
    "memory": r"page allocation failure|[Oo]ut of memory|oom-kill",
    "netns leak": r"unregister_netdevice: waiting for",
    "conntrack INVALID": r"nf_ct_\w+: ",
    "conntrack full": r"nf_conntrack: .*table full",
    "trace": r"Call Trace:",
}
"""Patterns that make a line a finding at any level: a WARN is logged as a warning only. The first
pattern that matches names the finding."""

ALLOWED: tuple[tuple[str, str], ...] = (
    (r"ip_local_port_range: prefer different parity", "advice on a setting of the lab's"),
    (r"NMI handler .* took too long", "QEMU's emulation of an NMI, on a busy host"),
    (r"watchdog: .*(?:disabled|enabled)", "a setting is told, no lockup"),
)
"""Lines that match a pattern and are no failure, each with the reason."""

_SINGLE = {"error", "memory", "netns leak", "conntrack INVALID", "conntrack full"}
"""Kinds of a single line. The others begin a dump, which is one finding with all its lines."""

_DUMP_LINES, _DUMP_SECONDS, _PANIC_LINES = 80, 0.2, 200

_KINDS = [(kind, re.compile(pattern)) for kind, pattern in COMPLAINTS.items()]
_ALLOWED = re.compile("|".join(pattern for pattern, _ in ALLOWED))
_LINE = re.compile(r"(?:<(?P<level>\d+)>)?(?:\[ *(?P<time>[\d.]+)\](?:\[ *\w+\])? ?)?(?P<text>.*)")
_ERROR = 3
"""KERN_ERR. Lines of this level and worse are findings even when no pattern matches."""


@dataclass
class Finding:
    """One kind of complaint that the kernel made during one case."""

    kind: str
    case: str
    """The case that was running, or empty."""
    lines: list[str]
    """The first complaint, with the dump below it."""
    count: int = 0

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.kind}{times}: {self.lines[0]}"

    @property
    def text(self) -> str:
        """The finding with its dump."""
        return "\n".join((str(self), *self.lines[1:]))


def scan(log: str) -> list[Finding]:
    """The findings in `log`, which is from `dmesg -r` or a console, in its order."""
    lines = log.splitlines()
    # The last start, because a panic repeats the log on the console.
    starts = [number for number, line in enumerate(lines) if COMMAND in line]
    found: dict[tuple[str, str], Finding] = {}
    case, dump, dump_began = "", None, 0.0
    lines = lines[starts[-1] if starts else 0 :]
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        assert match  # the pattern matches anything
        level, time, text = int(match["level"] or 6), float(match["time"] or 0), match["text"]
        if begins := CASE.search(text):
            case, dump = begins[1], None
        elif dump and len(dump) < _DUMP_LINES and time - dump_began < _DUMP_SECONDS:
            dump.append(text)
            if "---[ end" in text:
                dump = None
            elif "Kernel panic" in text:
                break
        elif kind := _kind(level & 7, text):
            finding = found.setdefault((kind, case), Finding(kind, case, []))
            finding.count += 1
            dump, dump_began = [text], time
            finding.lines = finding.lines or dump
            if kind in _SINGLE:
                dump = None
            elif kind == "panic":
                # A panic ends the log; the processors' backtraces follow it.
                dump += lines[number + 1 : number + _PANIC_LINES]
                break
        else:
            dump = None
    return list(found.values())


def _kind(level: int, text: str) -> str | None:
    if _ALLOWED.search(text):
        return None
    for kind, pattern in _KINDS:
        if pattern.search(text):
            return kind
    return "error" if level <= _ERROR else None
