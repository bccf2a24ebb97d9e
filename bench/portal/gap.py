# SPDX-License-Identifier: MIT
"""Measures how long a gateway is open after a flush: `python -m bench.portal.gap [N...]`.

For N sessions (0, 1000, 100000) it takes the time between the kernel's announcements that the table
has gone and that it is back without clients, and the time until the last client passes again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.lab import Lab
from tests.lab.wait import until
from tests.portal.stores import RedisServer

from .fleet import FLEET, GATEWAYS, Fleet, Tables

TIMES = 5


def measure(fleet: Fleet, sessions: int) -> str:
    """The line of the table for a number of sessions."""
    name = GATEWAYS[1]
    node = getattr(fleet.lab, name)
    gaps, whole = [], []
    for _ in range(TIMES):
        tables = Tables(fleet.lab, name)
        try:
            node.run(["nft", "flush", "ruleset"], deadline=120)
            gone, back = until(tables.seen, "the table", 60)
            fleet.wait_elements(name, sessions)
        finally:
            tables.stop()
        gaps.append(1000 * (back - gone))
        whole.append(time.monotonic() - gone)
    return (
        f"{sessions:>7,} sessions: open for {statistics.median(gaps):.0f} ms, at most "
        f"{max(gaps):.0f}; all clients pass again after {statistics.median(whole):.1f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.portal.gap", description=__doc__)
    parser.add_argument("sessions", nargs="*", type=int, default=[0, 1000, 100_000], metavar="N")
    wanted = parser.parse_args().sessions
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as redis,
        Lab(FLEET) as lab,
    ):
        fleet = Fleet(lab, redis.url)
        standing = 0
        fleet.start(GATEWAYS[1])
        for sessions in wanted:
            for number in range(standing, sessions):
                fleet.grant(number)
            standing = sessions
            fleet.wait_elements(GATEWAYS[1], sessions)
            print(measure(fleet, sessions), flush=True)
    print("load average of the last five minutes:", os.getloadavg()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
