# SPDX-License-Identifier: MIT
"""Limits of the injector: a packet that it cannot mark is dropped and counted, never passed.

The usual judge watches the listener: a single unmarked byte is a decoder's error. Once the limit is
lifted the connections go on, because TCP retransmits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from .attacks.segment import Segment
from .attacks.wire import AttackWire
from .case import Trial
from .endpoints import Accepted, Client
from .judge import judge_talk, require
from .kernel import flush_conntrack, until
from .loads import Load, parallel, small_writes, upload
from .named import MODULE, WRITERS, named
from .places import PORT
from .talk import Talk


@contextmanager
def _held_back(trial: Trial) -> Iterator[None]:
    """Drops all payload before the server, so that nothing is acknowledged."""
    trial.lab.server.nft("""table inet hold {
  chain pre {
    type filter hook prerouting priority -300
    tcp dport 8080 meta length > 75 drop
  }
}
""")
    try:
        yield
    finally:
        trial.lab.server.nft("delete table inet hold\n")


async def _run(trial: Trial, load: Load, hit: tuple[str, ...], held: bool, **limits: int) -> Talk:
    """Begins under the limits, lifts them after they were hit, waits for the end."""
    trial.drops_expected = True
    talk = trial.prepare(load)
    moves = trial.injector.bounds_move
    with trial.injector.limits(**limits):
        if held and moves:
            with _held_back(trial):
                running = asyncio.ensure_future(talk.run())
                await trial.until_dropped(*hit, count=3)
        else:
            running = asyncio.ensure_future(talk.run())
            await trial.until_dropped(*hit, count=3)
        if not moves:
            # A new limit needs a new table (`bounds_move`): connections with a flow must have
            # ended.
            await until(lambda: _done(talk) >= limits["max_flows"], "who has a flow is done")
    await running
    judge_talk(talk)
    return talk


def _done(talk: Talk) -> int:
    return sum(
        bool(p.client.ended and p.accepted and p.accepted.ended) for p in talk.pairs.values()
    )


@named("bounds", "gateway", injectors=WRITERS)
async def flows(trial: Trial) -> None:
    """More connections than flows."""
    await _run(trial, parallel(40), ("drop_flow_limit",), True, max_flows=10)


@named("bounds", "gateway", "dnat", "lo", "gateway6", injectors=MODULE)
async def no_flow(trial: Trial) -> None:
    """No connection can have a flow."""
    await _run(trial, parallel(10), ("drop_flow_limit",), False, max_flows=0)


@named("bounds", "gateway", "dnat", "lo", "gateway6", injectors=MODULE)
async def no_memory(trial: Trial) -> None:
    """No memory for a flow."""
    await _run(trial, parallel(10), ("drop_memory",), False, max_memory=0)


@named("bounds", "gateway", injectors=("ctframe",), offloads="off")
async def frames(trial: Trial) -> None:
    """More unacknowledged frames than a connection may have."""
    await _run(trial, small_writes(400), ("drop_frame_limit",), True, max_frames=8)


@named("bounds", "gateway", "dnat", "lo", injectors=("ctframe",), offloads="off")
async def few_frames(trial: Trial) -> None:
    """The limit stays: the transfer is slow, and ends."""
    trial.drops_expected = True
    with trial.injector.limits(max_frames=4):
        await trial.talk(upload("300k", 300_000, 1000))
        await trial.talk(small_writes(200))
    require(trial.risen().get("drop_frame_limit"), "the bound was never hit")


@named("bounds", "gateway", injectors=("ctframe",), offloads="off")
async def memory_for_frames(trial: Trial) -> None:
    """Memory for the flows, and for no more frames than they already have."""
    trial.drops_expected = True
    warm, go = asyncio.Semaphore(0), asyncio.Event()
    small = small_writes(100)

    async def client(end: Client) -> None:
        await end.send(200_000)  # so that many segments may be in flight
        await end.receive(1)
        warm.release()
        await go.wait()
        await small.client(end)

    async def server(end: Accepted) -> None:
        await end.receive(200_000)
        await end.send(1)
        await small.server(end)

    talk = trial.prepare(Load("many", client, server, 5, 5))
    running = asyncio.ensure_future(talk.run())
    for _ in range(5):
        await warm.acquire()
    kilobytes = trial.counters()["memory"] >> 10
    with trial.injector.limits(max_memory=kilobytes), _held_back(trial):
        go.set()
        await trial.until_dropped("drop_memory", count=3)
    await running
    judge_talk(talk)


@named("bounds", "gateway", "gateway6", injectors=("ctproxy",))
async def few_flows(trial: Trial) -> None:
    """The limit stays. A flow ends when its header has arrived, so a place becomes free soon."""
    trial.drops_expected = True
    trial.session.wires.set_netem("delay 20ms")
    with trial.injector.limits(max_flows=4):
        await trial.talk(parallel(12))
    require(trial.risen().get("drop_flow_limit"), "the bound was never hit")


@named("bounds", "gateway", "gateway6", injectors=("ebpf",))
async def unanswered(trial: Trial) -> None:
    """The limit stays. SYNs without an answer have filled the table; their places become free when
    conntrack forgets them."""
    trial.drops_expected = True
    with trial.injector.limits(max_flows=4):
        trial.lab.server.nft("""table inet hold {
  chain pre {
    type filter hook prerouting priority -300
    tcp dport 8080 drop
  }
}
""")
        running = asyncio.ensure_future(trial.prepare(parallel(12)).run())
        try:
            await trial.until_dropped("drop_flow_limit", count=8)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            trial.lab.server.nft("delete table inet hold\n")
        require(trial.counters()["entries"] == 4, f"{trial.counters()['entries']} entries of 4")
        flush_conntrack(trial.gateway)
        await until(lambda: not trial.counters()["entries"], "there is room again")
        await trial.talk(parallel(4))


LIVE, PLACES_IN_QUEUE, TRIES = 60, 128, 15_000


@named("bounds", "gateway", injectors=("ebpf",), plain=(), limit=600)
async def tokens(trial: Trial) -> None:
    """The queue of the flows' tokens is full, and others want each place that the sweep needs."""
    trial.drops_expected = True
    target = (trial.place.target, PORT)
    wire = AttackWire(trial.lab, trial.place.version)

    def syn(port: int, destination: tuple[str, int]) -> bytes:
        return Segment((wire.address, port), destination, "S").packet()

    def try_on(processor: int) -> None:
        former = os.sched_getaffinity(0)  # of this thread, which others will use
        os.sched_setaffinity(0, {processor})
        # The second SYN ends the flow of the first one, whose token stays in the queue.
        port = 2000 + processor
        wire.repeat(TRIES, syn(port, trial.place.original(0)), syn(port, target))
        os.sched_setaffinity(0, former)

    trial.gateway.nft(
        "table inet extra {\nchain pre {\ntype filter hook prerouting priority raw;\n"
        f"ip daddr {target[0]} notrack\n}}\n}}\n"
    )
    trial.lab.server.nft(
        "table inet hold {\nchain pre {\ntype filter hook prerouting priority -300\n"
        f"tcp dport {PORT} drop\n}}\n}}\n"
    )
    try:
        with trial.injector.limits(max_flows=PLACES_IN_QUEUE):
            wire.repeat(1, *(syn(3000 + n, trial.place.original(0)) for n in range(LIVE)))
            await asyncio.gather(
                *(asyncio.to_thread(try_on, cpu) for cpu in os.sched_getaffinity(0))
            )
            trial.facts["refused"] = trial.counters()["drop_flow_limit"]
            flush_conntrack(trial.gateway)
            try:
                await until(lambda: not trial.counters()["entries"], "every flow is forgotten", 20)
            except TimeoutError:
                kept = trial.counters()["entries"]
                require(False, f"{kept} flows are never forgotten")
    finally:
        wire.close()
        trial.gateway.nft("delete table inet extra\n")
        trial.lab.server.nft("delete table inet hold\n")
    require(trial.facts["refused"], "the queue was never full")
