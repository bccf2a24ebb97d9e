# SPDX-License-Identifier: MIT
"""`ctwsgi check`: can this host inject origins, and could a client forge one?

It asks the kernel and the packet filter, and changes nothing. It prints a line for each fact:

    ok    as it should be
    note  worth knowing
    todo  something to do, with the rule or command that does it

Exit status 0, or 1 when there is something to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from ..linux import LocalAddresses
from .ebpf import check_ebpf
from .finding import Finding, Level
from .host import check_conntrack, check_counters, check_keys, check_legacy, check_module
from .program import Program
from .rules import check_rules

_ROOT = Path("/")


@click.command()
@click.option(
    "--module",
    "wants_module",
    is_flag=True,
    help="This host should have the kernel module: if it is missing, that is something to do.",
)
def check(wants_module: bool) -> None:
    """Tell whether this host can inject origins, and what is missing.

    As root in the network namespace that does the NAT: the rules and the keys are read there.
    Exit status 1 when there is something to do.
    """
    findings = list(find(_ROOT, wants_module))
    for finding in findings:
        click.echo(str(finding))
    sys.exit(int(any(finding.level is Level.TODO for finding in findings)))


def find(root: Path, wants_module: bool) -> Iterable[Finding]:
    """All findings, in the order in which a packet would meet their subjects.

    `root` is a file system's root, / for this host.
    """
    yield from check_conntrack(root)
    yield from check_module(root, os.uname().release, wants_module)
    ebpf = check_ebpf(root, os.uname().release)
    yield from ebpf.findings
    keys = check_keys(root)
    yield from keys.findings
    yield from _check_ruleset(keys.signed, ebpf.programs)
    yield from check_legacy(root)
    yield from check_counters(root)


def _check_ruleset(signed: bool | None, programs: tuple[Program, ...]) -> Iterable[Finding]:
    try:
        done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True)
    except FileNotFoundError:
        yield Finding(Level.TODO, "rules", "nft is not here: apt-get install nftables")
        return
    if done.returncode:
        said = done.stderr.strip().partition("\n")[0]
        yield Finding(Level.NOTE, "rules", f"cannot be read, run this as root: {said}")
        return
    yield from check_rules(done.stdout, signed, LocalAddresses().__contains__, programs)
