# SPDX-License-Identifier: MIT
"""The rounds, in the guest: `/usr/bin/python3 -m bench.kernel.guest`.

In each round every side has one turn, in a drawn order. A turn is one sample of each workload. The
guest rests between two samples, so that one leaves nothing behind for the next: no socket in
TIME_WAIT, no conntrack entry, no memory that is yet to be freed.

Without --module this also runs on any machine and measures time, with --rest 0 and one processor
(taskset): docs/benchmarks.md#the-kernel-module says what for.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from socket import create_connection
from typing import Any

from tests.kernel.guest.kernel import flush_conntrack

from . import bpf_stats, gateway, hooks, programs
from .plan import EBPF, SIDES, WORKLOADS, Side, Workload

LOOP = 100
"""Million instructions, to check that the clock counts them."""

MODULES = ("nf_conntrack", "nf_conntrack_netlink", "nft_ct", "nft_chain_nat", "nft_redir", "veth")
MODULES += ("sch_ingress", "cls_bpf")


CONNTRACK_MAX = 1 << 18

CONNTRACK = (
    ("/proc/sys/net/netfilter/nf_conntrack_max", CONNTRACK_MAX),
    ("/sys/module/nf_conntrack/parameters/hashsize", CONNTRACK_MAX // 2),
)


def raise_conntrack_limits() -> None:
    """Raise conntrack's limits, which are low in a guest with little memory."""
    for name, wanted in CONNTRACK:
        path = Path(name)
        if int(path.read_text()) < wanted and Path("/proc/1/comm").read_text() != "systemd\n":
            path.write_text(str(wanted))


class Bench:
    """Namespaces and servers, which stay from the first round to the last."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        # Copied to memory: during a sample no process may wait for the host's file system.
        for name in programs.FOR_GUEST:
            shutil.copy(options.programs / name, folder)
        self.folder = folder
        self.module = options.module and Path(shutil.copy(options.module, folder))
        haproxy, nginx = folder / "haproxy.cfg", folder / "nginx.conf"
        haproxy.write_text(gateway.HAPROXY_CONFIGURATION)
        nginx.write_text(gateway.NGINX_CONFIGURATION.format(folder=folder))
        subprocess.run(["modprobe", "-qa", *MODULES], stdin=subprocess.DEVNULL)
        raise_conntrack_limits()
        self._rest = options.rest
        self.row = gateway.Row()
        self._processes = [
            gateway.start(self.row.server, str(folder / "server")),
            gateway.start(self.row.server, "nginx", "-p", str(folder), "-c", str(nginx)),
            gateway.start(self.row.gateway, "haproxy", "-db", "-f", str(haproxy)),
        ]
        deadline = time.monotonic() + 600
        waited = (self.row.server, 8082), (self.row.server, 8090), (self.row.gateway, 7080)
        for space, port in waited:
            while not gateway.answers(space, port):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{space.name}: no server listens on port {port}")
                time.sleep(0.1)
        self.rest()

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait()

    def rest(self) -> None:
        """Wait until nothing of the last sample is left. In the guest this takes no time."""
        time.sleep(self._rest)
        if not self._rest:
            flush_conntrack(self.row.gateway)

    def client(self, *words: object) -> dict[str, Any]:
        with self.row.client.entered():
            command = [self.folder / "client", *map(str, words)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def received(self) -> dict[str, Any]:
        """What the server has received since the last call."""
        with self.row.server.entered(), create_connection(("127.0.0.1", 8082)) as connection:
            found: dict[str, Any] = json.loads(connection.makefile().read())
        return found

    def _counters(self, side: Side) -> dict[str, int]:
        """Empty for a side that selects nothing: reading them would make the module add hooks."""
        if side.ebpf == EBPF:
            return self.row.program_counters()
        return self.row.counters() if side.selects else {}

    def sample(self, side: Side, work: Workload) -> dict[str, Any]:
        """Run the client once. Its report, the packets, the counters and the server's report."""
        self.row.big_segments(work.segments)
        self.row.delay(work.delay)
        self.rest()
        self.received()
        packets, counters = self.row.packets(), self._counters(side)
        header = gateway.header(work.dialled) if side.by_client else ()
        run = self.client(work.verb, work.dialled, gateway.OWN_PORT, *work.words, *header)
        now = self._counters(side)
        return {
            "side": side.name,
            "workload": work.name,
            **run,
            "packets": sum(self.row.packets().values()) - sum(packets.values()),
            "counters": {n: v - counters.get(n, 0) for n, v in now.items() if v != counters.get(n)},
            "server": self.received(),
        }


def time_programs(
    bench: Bench, sides: list[Side], works: list[Workload], tell: Callable[..., None]
) -> None:
    """One more round of the sides with eBPF programs, with the kernel's statistics on them."""
    for side in (side for side in sides if side.ebpf):
        with gateway.set_up(side, bench.row, bench.module, bench.folder):
            for work in (work for work in works if work.taken(side)):
                with bpf_stats.counted(bench.row.gateway, "gs") as counted:
                    sample = bench.sample(side, work)
                tell(hooks=counted.found, **sample)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.kernel.guest", description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="folder of client and server")
    parser.add_argument("--report", type=Path, required=True, help="JSON lines")
    parser.add_argument("--module", type=Path, help="ctinject.ko")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rest", type=float, default=130, help="seconds between two samples")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--hooks", action="store_true", help="time the module's hooks as well")
    parser.add_argument("--programs-time", action="store_true", help="and the eBPF programs' runs")
    parser.add_argument("--symbols", type=Path, help="folder for each sample's kernel symbols")
    return parser.parse_args()


def main() -> None:
    options = parse()
    sides = [SIDES[name] for name in options.sides.split(",")]
    works = [WORKLOADS[name] for name in options.workloads.split(",")]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, options.report.open("w") as report:

        def tell(**facts: object) -> None:
            report.write(json.dumps(facts) + "\n")
            report.flush()

        bench = Bench(options, Path(name))
        try:
            tell(instructions=LOOP * 10**6, **bench.client("loop", LOOP))
            samples = 0
            for number in range(options.rounds):
                for side in random.Random(number).sample(sides, len(sides)):
                    with gateway.set_up(side, bench.row, bench.module, bench.folder):
                        for work in (work for work in works if work.taken(side)):
                            tell(round=number, **bench.sample(side, work))
                            samples += 1
                            if options.symbols:
                                shutil.copy("/proc/kallsyms", options.symbols / str(samples))
                print(f"round {number + 1} of {options.rounds}", flush=True)
            if options.hooks:
                for side in (side for side in sides if side.selects):
                    with gateway.set_up(side, bench.row, bench.module, bench.folder):
                        for work in (work for work in works if work.taken(side)):
                            with hooks.traced() as trace:
                                sample = bench.sample(side, work)
                            tell(hooks=trace.found, **sample)
            if options.programs_time:
                time_programs(bench, sides, works, tell)
        finally:
            bench.close()


if __name__ == "__main__":
    main()
