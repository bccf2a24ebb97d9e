# SPDX-License-Identifier: MIT
"""The gateway routes in a VRF. The module sends packets of its own there, too: the header that a
server lacks, and the resets of an unload."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from .case import Trial
from .endpoints import Accepted, Client
from .judge import judge_talk, require
from .kernel import until
from .lab import Lab
from .loads import SMALL, Load
from .named import named
from .places import nat_rules
from .talk import Talk

_LOSES_HEADERS = """table inet lost {
  chain pre {
    type filter hook prerouting priority -300
    tcp dport 8080 ip ttl 63 meta length 80 drop
    tcp dport 8080 ip6 hoplimit 63 meta length 124 drop
  }
}
"""
"""At the server: a packet that was forwarded, and is as long as a header with timestamps. Those of
the module itself have not been forwarded."""


@contextmanager
def _lab_with_vrf(trial: Trial) -> Iterator[Lab]:
    lab = Lab()
    try:
        lab.into_vrf()
        lab.gateway.nft(nat_rules() + trial.injector.rules())
        trial.injector.counters(lab.gateway)  # which registers the hooks
        yield lab
    finally:
        # With devices that are up the kernel would complain when the VRF goes.
        lab.gateway.batch("ip", "link set gc down", "link set gs down")
        lab.close()


@named("rules", "gateway", "gateway6", injectors=("ctproxy",), name="vrf/header-lost", limit=240)
async def _header_lost(trial: Trial) -> None:
    """Every header that comes with a client's packet is lost; the module must send it by itself."""
    with _lab_with_vrf(trial) as lab:
        lab.server.nft(_LOSES_HEADERS)
        talk = Talk(trial.place, lab.spaces, SMALL, trial.injector, trial.session.ports)
        await talk.run()
        judge_talk(talk)


async def _asks(end: Client) -> None:
    await end.send(300)
    await end.until_end()


async def _waits(end: Accepted) -> None:
    await end.receive(300)
    await end.until_end()


@named("life", "gateway", injectors=("ctframe",), name="unload/vrf", limit=240)
async def _unload(trial: Trial) -> None:
    """The server gets its reset."""
    with _lab_with_vrf(trial) as lab:
        load = Load("waits", _asks, _waits)
        talk = Talk(trial.place, lab.spaces, load, trial.injector, trial.session.ports)
        running = asyncio.ensure_future(talk.run())
        try:
            await until(lambda: _received(talk) == 300, "the request has arrived")
            for gateway in (lab.gateway, trial.gateway):
                gateway.nft(trial.injector.without_rules())
            await asyncio.to_thread(trial.injector.unload, trial.gateway)
            await until(lambda: _end(talk), "the server's connection ends")
            require(_end(talk) == "ECONNRESET", f"the server saw {_end(talk)}")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if not trial.counters():
                trial.injector.load(trial.gateway)
                trial.gateway.nft(trial.injector.rules())
                trial.before = trial.counters()


def _accepted(talk: Talk) -> Accepted | None:
    return next((pair.accepted for pair in talk.pairs.values()), None)


def _received(talk: Talk) -> int:
    there = _accepted(talk)
    return len(there.received) if there else 0


def _end(talk: Talk) -> str:
    there = _accepted(talk)
    return there.ended if there else ""
