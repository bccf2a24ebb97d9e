# SPDX-License-Identifier: MIT
"""A SYN flood against a protected server: its effect on other connections, and how long it lasts.

    client 10.62.1.2 ─────┬── gateway ──┬── 10.62.2.2:8080   another server, which is not selected
    flood  10.62.64.0/24 ─╯             ╰── 10.62.2.3:8080   the protected server

    python -m bench.kernel --flood        in a guest whose clock counts instructions
    python -m bench.kernel.flood          on this machine, as root; ten minutes

With the program the table is full after FLOWS SYNs; from then on it drops SYNs to the protected
server, and nothing else. Without it all SYNs are passed on, and the server answers them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from socket import create_connection, socket
from typing import Any

from ctwsgi.ebpf.injector import Injector, Wanted
from ctwsgi.ebpf.structs import Selection, Settings

from . import gateway, programs
from .guest import Bench
from .plan import PLAIN, SIDES

FLOWS = 8192
"""Size of the program's table."""

SYNS, RATE = 60_000, 10_000
"""Number of SYNs, and how many of them per second."""

CONNECTIONS, PARALLEL, WARM_UP = 2000, 4, 100

PROTECTED, OTHERS = (gateway.FLOWS_TO, 80), "198.18.0.1"

RECOVERED = 600
"""Seconds after which new connections must be accepted again."""

REQUEST = b"r" * 120 + b"request\n"

COLUMNS = "{:<26}{:>14}{:>12}{:>12}"


def connect(bench: Bench, patience: float) -> socket | None:
    """Connect to the protected server; None when it does not answer within `patience` seconds."""
    with bench.row.client.entered():
        try:
            return create_connection(PROTECTED, timeout=patience)
        except OSError:
            return None


def ask(connection: socket) -> bool:
    """Whether the request is answered."""
    with connection:
        connection.settimeout(10)
        connection.sendall(REQUEST)
        return connection.recv(256, 0) != b""


def others(bench: Bench, title: str) -> None:
    """Measure connections to the other server, and print a row of the table."""
    words = (CONNECTIONS, PARALLEL, WARM_UP)
    run: dict[str, Any] = bench.client("connect", OTHERS, gateway.OWN_PORT, *words)
    tick = run["time"] / run["ticks"] / 1e6
    numbers = (run["sent"] / run["time"] * 1e9, run["median"] * tick, run["p99"] * tick)
    print(COLUMNS.format(title, *(f"{n:,.{d}f}" for n, d in zip(numbers, (0, 2, 2), strict=True))))


def flooded(bench: Bench, injector: Injector | None) -> None:
    """Run the flood. Print how connections go before, during and after it."""
    name = "the program" if injector else "plain"
    others(bench, f"{name}, quiet")
    before = connect(bench, 5)
    crowd = str(bench.folder / "crowd")
    flood = gateway.start(bench.row.client, crowd, "flood", str(SYNS), str(RATE))
    deadline = time.monotonic() + SYNS / RATE
    while injector and not injector.counters()["drop_flow_limit"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the table was not full: {injector.counters()}")
        time.sleep(0.05)
    others(bench, f"{name}, flooded")
    answers = [f"a connection from before goes on: {before is not None and ask(before)}"]
    if flood.poll() is not None:
        raise RuntimeError("the flood was over too soon")
    fresh = connect(bench, 1)
    answers.append(f"a new one is accepted meanwhile: {fresh is not None and ask(fresh)}")
    output, _ = flood.communicate()
    print(f"  {json.loads(output)['sent']:,} SYNs; " + "; ".join(answers))
    if injector:
        forget(bench, injector)


def forget(bench: Bench, injector: Injector) -> None:
    """Wait until a new connection to the protected server is accepted again."""
    began = time.monotonic()
    counters = injector.counters()
    full = (counters["entries"], counters["drop_flow_limit"])
    print("  {:,} entries, {:,} SYNs dropped because the table is full".format(*full))
    while time.monotonic() - began < RECOVERED:
        if connection := connect(bench, 1):
            answered = ask(connection)
            print(f"  after {time.monotonic() - began:.0f} s one is accepted: {answered}")
            return
    print(f"  after {RECOVERED} s none is accepted: {injector.counters()}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.kernel.flood", description=__doc__)
    parser.add_argument("--programs", type=Path, default=programs.BUILD)
    parser.add_argument(
        "--report", type=Path, help="not used; bench.kernel passes it to each module"
    )
    parser.add_argument(
        "--rest", type=float, default=200, help="seconds until the server has forgotten a flood"
    )
    options = parser.parse_args()
    settings = Settings(selection=Selection.BACKENDS)
    wanted = Wanted(settings, ((gateway.FLOWS_SERVER, 8080),), max_flows=FLOWS)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        bench = Bench(argparse.Namespace(**vars(options), module=None), Path(folder))
        row = bench.row
        try:
            row.server.run("ip", "addr", "add", f"{gateway.FLOWS_SERVER}/32", "dev", "s0")
            row.gateway.nft(gateway.rules(SIDES[PLAIN]))
            print(COLUMNS.format("others' connections", "a second", "median, ms", "99 %, ms"))
            flooded(bench, None)
            bench.rest()
            with row.gateway.entered():
                gateway.flush_conntrack(row.gateway)
                injector = Injector("gs")
                injector.attach(wanted)
            try:
                with row.gateway.entered():
                    flooded(bench, injector)
            finally:
                with row.gateway.entered():
                    injector.detach()
        finally:
            bench.close()


if __name__ == "__main__":
    main()
