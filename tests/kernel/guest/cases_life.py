# SPDX-License-Identifier: MIT
"""The injector is unloaded, and namespaces are removed, while connections are open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from .case import Trial
from .endpoints import POOL
from .judge import judge_talk, require
from .kernel import flush_conntrack, until
from .lab import Lab
from .loads import MEGABYTE, SMALL, Load, keepalive, parallel, upload
from .named import MODULE, WRITERS, named
from .places import nat_rules
from .talk import Pair, Talk


def _sound_so_far(pairs: Iterable[Pair]) -> None:
    """Fails when a connection that was cut off received other bytes than the client sent."""
    for pair in pairs:
        if pair.accepted:
            got, start = pair.accepted.received, pair.client.start
            require(bytes(POOL[start : start + len(got)]) == got, f"wrong bytes: {pair}")


async def _flowing(talk: Talk, count: int) -> None:
    """Waits until `count` connections have received something."""

    def begun() -> bool:
        return sum(bool(p.accepted and p.accepted.received) for p in talk.pairs.values()) >= count

    await until(begun, f"{count} connections flow", limit=120)


def _rmmod(load: Load, *places: str, plain: tuple[str, ...] = ()) -> None:
    @named("life", *places, name=f"unload/{load.name}", injectors=WRITERS, plain=plain, limit=240)
    async def _body(trial: Trial) -> None:
        """Unloads under traffic. No connection receives wrong bytes; after loading again all
        work."""
        trial.drops_expected = trial.invalid_expected = True
        talk = trial.prepare(load)
        running = asyncio.ensure_future(talk.run())
        try:
            await _flowing(talk, load.connections // 2)
            # Connections that begin without the rule have no header, and are not judged.
            selected = [pair for pair in talk.pairs.values() if pair.client.connected]
            trial.gateway.nft(trial.injector.without_rules())
            await asyncio.to_thread(trial.injector.unload, trial.gateway)
            require(not trial.counters(), "it still counts")
            _sound_so_far(selected)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if not trial.counters():
                trial.injector.load(trial.gateway)
            trial.gateway.nft(trial.injector.rules())
        _sound_so_far(selected)
        trial.facts["refused by a decoder"] = sum(bool(p.errors) for p in selected)
        # Without conntrack entries some sockets would retransmit their last bytes for minutes.
        trial.lab.kill_sockets()
        flush_conntrack(trial.gateway)
        trial.before = trial.counters()
        await trial.talk(parallel(10))


UPLOADS = replace(upload("uploads", 6 * MEGABYTE, 1), connections=8, at_once=8)

_rmmod(UPLOADS, "gateway", "dnat", "lo", plain=("gateway", "lo"))
_rmmod(replace(keepalive(400), connections=8, at_once=8), "gateway", "dnat6")
_rmmod(parallel(300, 60), "gateway", "dnat", "gateway6", plain=("gateway",))


HELPED = "helper=ct"
"""What `conntrack -L` says of an entry that has a helper of the module."""


@named("life", "gateway", "dnat6", name="unload/then-flush", injectors=("ctproxy",), limit=240)
async def _then_flush(trial: Trial) -> None:
    """Connections that stay lose their helper: otherwise the kernel would call a function of the
    unloaded module when an entry ends."""
    await trial.talk(SMALL)
    require(HELPED in trial.gateway.run("conntrack", "-L"), "no entry has the helper")
    trial.gateway.nft(trial.injector.without_rules())
    try:
        await asyncio.to_thread(trial.injector.unload, trial.gateway)
        left = trial.gateway.run("conntrack", "-L")
        require("dport=" in left, "no entry has stayed")
        require(HELPED not in left, "an entry still has a helper of the module")
        flush_conntrack(trial.gateway)
    finally:
        if not trial.counters():
            trial.injector.load(trial.gateway)
        trial.gateway.nft(trial.injector.rules())
    trial.before = trial.counters()
    await trial.talk(SMALL)


def _namespace(load: Load, *places: str) -> None:
    @named(
        "life",
        *places,
        name=f"namespace-removed/{load.name}",
        injectors=WRITERS,
        plain=("gateway",),
        limit=240,
    )
    async def _body(trial: Trial) -> None:
        """The gateway's namespace is removed under traffic, with its connections and flows."""
        lab = Lab()
        trial.injector.enter(lab.gateway)
        lab.gateway.nft(nat_rules() + trial.injector.rules())
        talk = Talk(trial.place, lab.spaces, load, trial.injector, trial.session.ports)
        running = asyncio.ensure_future(talk.run())
        try:
            await _flowing(talk, load.connections // 2)
            require(trial.injector.counters(lab.gateway).get("flows") is not None, "no counters")
            lab.gateway.close()
            # Its devices go with it, and each veth with its peer.
            await until(lambda: "c0" not in lab.client.proc("dev"), "the namespace goes", 60)
            _sound_so_far(talk.pairs.values())
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            lab.close()
        _sound_so_far(talk.pairs.values())
        await trial.talk(SMALL)


_namespace(UPLOADS, "gateway")
_namespace(parallel(300, 60), "gateway", "gateway6")


@named(
    "life",
    *("gateway", "dnat6"),
    name="first-packet",
    injectors=MODULE,
    plain=("gateway",),
    limit=240,  # making a lab takes a minute on the debug kernel of a busy machine
)
async def _first_packet(trial: Trial) -> None:
    """A new namespace has no hooks. The first packet registers them, and is itself dropped."""
    lab = Lab()
    try:
        lab.gateway.nft(nat_rules() + trial.injector.rules())
        load = parallel(20)
        talk = Talk(trial.place, lab.spaces, load, trial.injector, trial.session.ports)
        await talk.run()
        judge_talk(talk)
        counters = trial.injector.counters(lab.gateway)
        require(counters["drop_unarmed"] > 0, "the first packet has passed")
        trial.facts["first packets"] = counters["drop_unarmed"]
    finally:
        lab.close()
