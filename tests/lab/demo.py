# SPDX-License-Identifier: MIT
"""`make demo`: real visits to addresses that exist nowhere, and what the server knows of each.

    client ---- gateway ---- server        (network namespaces, docs/lab.md)

The relay is always shown; the eBPF program where it can be attached (docs/ebpf.md), and the kernel
module where this kernel can load it (kmod/README.md).
The client's curl dials random addresses and ports of 198.18.0.0/15 and 2001:db8::/32. A line
`ok SOURCE TOPOLOGY ORIG_DST` says that the JSON in the answer held this destination, the source,
whether it is verified, the visitor's address, and a nonce that only this visit sent. A line
`ok refused REASON` says that the server refused a forgery for that reason. At the end the client
walks through the captive portal, with a line `ok portal STEP` for each step. The exit status is 0
only when everything passed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ctwsgi.check.host import module_version
from ctwsgi.wire.auth import Key

from .ebpf import why_no_ebpf
from .ending import Ended, end_if_told, end_in_order
from .lab import Lab
from .legs import EBPF_LEGS, LEGS, LOCAL, MODULE_LEGS, SIGNED, Mismatch, Service, destinations
from .module import why_no_module
from .portal import PortalLab
from .portal_demo import Walk
from .refusals import (
    forgeries,
    guard_at_gateway,
    guard_at_server,
    refuses_forgery,
    refuses_stranger,
)
from .requirements import LabError
from .topology import show

FAILURES = (LabError, Mismatch, OSError, RuntimeError)
"""What a check may raise. TimeoutError is an OSError."""


class Report:
    """Prints a line for each check, and counts them."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, line: str, run: Callable[[], None]) -> None:
        """`ok LINE` when `run()` returns, else `not ok LINE: why`."""
        end_if_told()
        try:
            run()
        except FAILURES as e:
            end_if_told()  # perhaps a Ctrl-C, which has also reached a child in its first moment
            self.failed += 1
            print(f"not ok {line}: {e}", flush=True)
        else:
            self.passed += 1
            print(f"ok {line}", flush=True)


def demonstrate(
    lab: Lab, report: Report, options: argparse.Namespace, ebpf: bool, module: bool
) -> None:
    """All legs, with those of the eBPF program and the module on request, then all refusals."""
    key = Key(1, secrets.token_bytes(32))
    key_file = _write(lab.scratch / "keys", key)
    if module:
        for node in (lab.gateway, lab.server):
            node.run(["sh", "-c", f"cat {key_file} > /proc/net/ctinject_keys"])
    legs = (*LEGS, *(EBPF_LEGS if ebpf else ()), *(MODULE_LEGS if module else ()))
    services = {leg: Service(lab, leg, key_file) for leg in legs}
    for service in services.values():
        service.ready()
    for service in services.values():
        with service.redirected():
            for destination in destinations(service.leg, options.visits):
                line = f"{service.leg.name} {show(destination)}"
                report.check(line, partial(service.visit, destination))
    standing = not options.without_guard
    for hook, check in (("input", guard_at_server), ("forward", guard_at_gateway)):
        report.check(f"refused direct-dial ({hook})", partial(check, services[LOCAL], standing))
    for reason in forgeries(key):
        report.check(f"refused {reason}", partial(refuses_forgery, services[SIGNED], key, reason))
    report.check("refused untrusted-peer", partial(refuses_stranger, services[SIGNED], key))


def demonstrate_portal(report: Report) -> None:
    """The portal gets its own lab, because its agent owns the gateway's whole packet filter."""
    with Lab() as lab:
        portal = PortalLab(lab)
        portal.start()
        for line, run in Walk(portal).steps():
            report.check(f"portal {line}", run)


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    end_in_order()
    try:
        return _show_all(options)
    except Ended as e:
        print(f"ended by {e.number.name}; the lab is gone", file=sys.stderr)
        return 128 + e.number


def _show_all(options: argparse.Namespace) -> int:
    report = Report()
    try:
        with Lab() as lab:
            no_ebpf = "not asked for" if options.without_ebpf else why_no_ebpf()
            no_module = why_no_module()
            print(_introduction(lab, no_ebpf, no_module), flush=True)
            demonstrate(lab, report, options, ebpf=not no_ebpf, module=not no_module)
        if not options.without_portal:
            demonstrate_portal(report)
    except FAILURES as e:
        end_if_told()
        print(f"demo: {e}", file=sys.stderr)
        if not report.passed + report.failed:
            return 1  # no check has begun: a count would say nothing
        report.failed += 1
    end_if_told()
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--visits",
        type=int,
        default=2,
        metavar="N",
        help="addresses per leg and IP version (default 2)",
    )
    parser.add_argument(
        "--without-guard",
        action="store_true",
        help="leave out the guard, to see its checks fail",
    )
    parser.add_argument(
        "--without-ebpf", action="store_true", help="leave out the eBPF program's leg"
    )
    parser.add_argument(
        "--without-portal", action="store_true", help="leave out the captive portal's walk"
    )
    return parser.parse_args(arguments)


def _introduction(lab: Lab, no_ebpf: str | None, no_module: str | None) -> str:
    rights = "a user namespace" if lab.rootless else "root"
    injectors = ["relay"]
    if not no_ebpf:
        injectors.insert(0, "eBPF program")
    if not no_module:
        injectors.insert(0, f"module ctinject {module_version()}")
    lines = [
        f"client {lab.client.address()} -- gateway -- server {lab.server.address()}; "
        f"injectors: {', '.join(injectors)} on the gateway; built with {rights}",
    ]
    if no_ebpf:
        lines.append(f"no eBPF here: {no_ebpf}")
    if no_module:
        lines.append(f"no kernel module here: {no_module}")
    return "\n".join([*lines, "each visit: ok SOURCE TOPOLOGY ORIGINAL-DESTINATION"])


def _write(path: Path, key: Key) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key.id} {key.secret.hex()}\n")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
