"""`make demo`: real visits to addresses that exist nowhere, and what the server knew of each.

    client ---- gateway ---- server        (network namespaces, docs/lab.md)

The client's curl dials random pairs of 198.18.0.0/15 and 2001:db8::/32. A line `ok SOURCE TOPOLOGY
ORIG_DST` says that the JSON which came back held that very pair, the source, whether it is
verified, the visitor's address and a nonce that only this visit knew. A line `ok refused REASON`
says that the server turned a forgery away for that reason. Exit status 0 only when all passed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from ctwsgi.wire.auth import Key

from .lab import Lab
from .legs import LEGS, LOCAL, SIGNED, Mismatch, Service, destinations
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
"""What a check may raise: TimeoutError is an OSError."""


class Report:
    """Prints a line per check and counts."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, line: str, run: Callable[[], None]) -> None:
        """`ok LINE` when `run()` returns, else `not ok LINE: why`."""
        try:
            run()
        except FAILURES as e:
            self.failed += 1
            print(f"not ok {line}: {e}", flush=True)
        else:
            self.passed += 1
            print(f"ok {line}", flush=True)


def demonstrate(lab: Lab, report: Report, options: argparse.Namespace) -> None:
    """All legs, then all refusals."""
    key = Key(1, secrets.token_bytes(32))
    services = {leg: Service(lab, leg, _write(lab.scratch / "keys", key)) for leg in LEGS}
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


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    report = Report()
    try:
        with Lab() as lab:
            print(_introduction(lab), flush=True)
            demonstrate(lab, report, options)
    except KeyboardInterrupt:
        print("interrupted; the lab is gone", file=sys.stderr)
        return 128 + signal.SIGINT
    except FAILURES as e:
        print(f"demo: {e}", file=sys.stderr)
        if not report.passed + report.failed:
            return 1  # nothing began: that line is all there is to say
        report.failed += 1
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
        help="leave the guard away, and see the checks of it fail",
    )
    return parser.parse_args(arguments)


def _introduction(lab: Lab) -> str:
    rights = "a user namespace" if lab.rootless else "root"
    return (
        f"client {lab.client.address()} -- gateway -- server {lab.server.address()}; "
        f"injector: relay on the gateway; built with {rights}\n"
        "each visit: ok SOURCE TOPOLOGY ORIGINAL-DESTINATION"
    )


def _write(path: Path, key: Key) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key.id} {key.secret.hex()}\n")
    return path


def _end(number: int, frame: FrameType | None) -> None:
    # An exception, so that the lab's `with` is left in order.
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
