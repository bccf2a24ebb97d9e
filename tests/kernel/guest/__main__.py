# SPDX-License-Identifier: MIT
"""Runs the matrix; see the package's docstring. Root, in a guest whose network is nobody else's."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from ctwsgi.ebpf.host import OBJECT

from . import endtoend, matrix, named
from .attacks import cases as attacks
from .injector import Ctframe, Ctproxy, Ebpf, Helper, Injector
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
    "sch_netem",
    "sch_ingress",
    "cls_bpf",
)
"""Stock ones. Loaded first: what a rule asks for on the way takes its time from a case."""


PLAIN = frozenset({"matrix", "ends", "auth", "udp", "rules", "end-to-end"})
"""The suites of a run without --full and --suite: what five minutes in a guest can hold."""


PLAIN_EBPF = frozenset({"matrix"})
"""Of these the eBPF injector's: what needs netem. tests/bpf runs the others on this machine."""


def options() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(prog="tests.kernel.guest", description=__doc__)
    parser.add_argument("--report", type=Path, help="JSON lines, see report.py")
    parser.add_argument("--module", help="the .ko; without it only `--helper none` can run")
    parser.add_argument("--helper", action="append", choices=("none", "ctframe", "ctproxy", "ebpf"))
    parser.add_argument("--full", action="store_true", help="all cases, and the bigger ones bigger")
    parser.add_argument("--suite", action="append", help="only this one; may be repeated")
    parser.add_argument("--case", help="only the cases whose name matches this pattern")
    parser.add_argument("--no-netem", action="store_true", help="leave out what needs it")
    parser.add_argument("--list", action="store_true", help="names, and nothing is run")
    return parser.parse_args()


def main() -> int:
    """The exit status: 0 only when a case was run and none has failed."""
    given = options()
    wanted = given.helper or (["ctframe", "ctproxy", "ebpf"] if given.module else ["none"])
    if not given.helper and "ebpf" in wanted and not OBJECT.exists():
        print("without the eBPF injector, which is not built: make -C kmod/bpf")
        wanted.remove("ebpf")
    module = given.module or "ctinject.ko"
    injectors = {
        "none": Injector(),
        "ctframe": Ctframe(module),
        "ctproxy": Ctproxy(module),
        "ebpf": Ebpf(),
    }
    cases = [
        case
        for name in wanted
        for case in (
            *matrix.cases(injectors[name], given.full),
            *named.cases(injectors[name]),
            *attacks.cases(injectors[name], given.full),
            *endtoend.cases(injectors[name], given.full),
        )
        if (given.full or case.plain)
        and (given.full or given.suite or name != "ebpf" or case.suite in PLAIN_EBPF)
        and not (given.no_netem and case.impairment.netem)
        and (case.suite in given.suite if given.suite else given.full or case.suite in PLAIN)
        and fnmatchcase(case.name, given.case or "*")
    ]
    if given.list:
        print("\n".join(f"{case.suite} {case.name}" for case in cases))
        return 0
    # The machine's own kernel has some of them built in, and no modprobe; it is good for a try.
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
