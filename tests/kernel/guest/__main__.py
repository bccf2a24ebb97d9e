# SPDX-License-Identifier: MIT
"""Runs the suites, as root in a guest; the package's docstring says what they check."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from ctwsgi.ebpf.host import OBJECT, is_realtime

from . import endtoend, matrix, named, realtime, smoke
from .attacks import cases as attacks
from .case import Case
from .injector import Ctframe, Ctproxy, Ebpf, Helper, InjectorUnderTest
from .report import Report
from .run import Runner

MODULES = (
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nft_ct",
    "nft_nat",
    "nft_chain_nat",
    "nft_redir",
    "nft_masq",
    "nft_reject_inet",
    "nft_flow_offload",
    "nf_flow_table_inet",
    "veth",
    "vrf",
    "br_netfilter",
    "sch_netem",
    "sch_ingress",
    "cls_bpf",
)
"""Debian's modules that the cases need. They are loaded first, so that no case waits for them."""


PLAIN = frozenset({"matrix", "ends", "auth", "udp", "rules", "end-to-end"})
"""The suites of a run without --full, --smoke and --suite, which takes five minutes."""

PLAIN_EBPF = frozenset({"matrix"})
"""Those that the plain run gives to the eBPF injector, because they need netem. tests/bpf runs the
others on the host."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.kernel.guest", description=__doc__)
    parser.add_argument("--report", type=Path, help="JSON lines, see report.py")
    parser.add_argument("--module", help="the .ko; without it only `--helper none` can run")
    parser.add_argument("--helper", action="append", choices=("none", "ctframe", "ctproxy", "ebpf"))
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="all cases, and the bigger ones bigger")
    size.add_argument("--smoke", action="store_true", help="only the cases of smoke.py")
    parser.add_argument("--suite", action="append", help="only this one; may be repeated")
    parser.add_argument("--case", help="only the cases whose name matches this pattern")
    parser.add_argument("--no-netem", action="store_true", help="leave out what needs it")
    parser.add_argument("--list", action="store_true", help="names, and nothing is run")
    return parser.parse_args()


def chosen(given: argparse.Namespace, wanted: Collection[str]) -> list[Case]:
    """The cases of the injectors `wanted` that the options leave."""
    module = given.module or "ctinject.ko"
    injectors = (InjectorUnderTest(), Ctframe(module), Ctproxy(module), Ebpf())
    cases = [
        case
        for injector in injectors
        if injector.name in wanted
        for case in (
            *matrix.cases(injector, given.full),
            *named.cases(injector),
            *attacks.cases(injector, given.full),
            *endtoend.cases(injector, given.full),
        )
        if not (given.no_netem and case.impairment.netem) and _asked_for(case, given)
    ]
    if given.full:
        return cases
    if given.smoke:
        return list(smoke.chosen(cases))
    return [case for case in cases if case.plain and (given.suite or _in_plain_run(case))]


def _asked_for(case: Case, given: argparse.Namespace) -> bool:
    return case.suite in (given.suite or [case.suite]) and fnmatchcase(case.name, given.case or "*")


def _in_plain_run(case: Case) -> bool:
    return case.suite in (PLAIN_EBPF if case.injector.name == "ebpf" else PLAIN)


def main() -> int:
    """Returns the exit status: 0 only when a case was run and none has failed."""
    given = options()
    wanted = given.helper or (["ctframe", "ctproxy", "ebpf"] if given.module else ["none"])
    if not given.helper and "ebpf" in wanted and not OBJECT.exists():
        print("without the eBPF injector, which is not built: make -C kmod/bpf")
        wanted.remove("ebpf")
    if is_realtime() and "ebpf" in wanted:
        print("without the eBPF injector, which a real-time kernel cannot have")
        wanted.remove("ebpf")
    cases = [
        *chosen(given, wanted),
        *(case for case in realtime.cases() if _asked_for(case, given)),
    ]
    if given.list:
        print("\n".join(f"{case.suite} {case.name}" for case in cases))
        return 0
    # A kernel that has some of them built in may have no modprobe: the suites run all the same.
    subprocess.run(["modprobe", "-qa", *MODULES], stdin=subprocess.DEVNULL)
    if given.module:
        Helper(given.module).load()
    report = Report(given.report)
    runner = Runner(report)
    try:
        asyncio.run(runner.run(cases))
    finally:
        runner.close()
    print(f"\n{report.passed} passed, {report.failed} failed")
    return int(bool(report.failed or not report.passed))


if __name__ == "__main__":
    sys.exit(main())
