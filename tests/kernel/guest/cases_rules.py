# SPDX-License-Identifier: MIT
"""Other packet filter rules on the same connections: masquerade, zones, flowtables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from .case import Trial
from .endpoints import Accepted, Client
from .judge import require
from .kernel import flush_conntrack
from .loads import MEGABYTE, SERVER_FIRST, SMALL, Load, parallel, upload
from .named import MODULE, named
from .places import ROUTED, Place

LOADS = (SMALL, SERVER_FIRST, upload("300k", 300_000, 50_000), parallel(20))


@contextmanager
def _table(trial: Trial, body: str) -> Iterator[None]:
    """Adds this table to the gateway's rules in the `with`."""
    trial.gateway.nft(f"table inet extra {{\n{body}\n}}\n")
    try:
        yield
    finally:
        trial.gateway.nft("delete table inet extra\n")


@named("rules", "direct", "direct-local")
async def untouched(trial: Trial) -> None:
    """The rule selects the connection, but there is no NAT: the destination is the real one."""
    for load in LOADS:
        await trial.talk(load, selected=False)
    if trial.injector.name != "none":
        gained = trial.risen()
        require(gained.get("untouched", 0) == trial.connections, f"counted {gained}")


@contextmanager
def masquerade(trial: Trial) -> Iterator[Place]:
    """In the `with` the listener sees the gateway's address, as the yielded place says."""
    chain = "type nat hook postrouting priority srcnat;"
    with _table(trial, f'chain post {{\n{chain}\noifname "gs" masquerade\n}}'):
        yield replace(trial.place, seen_as=ROUTED[trial.place.version])


def _masquerade(load: Load) -> None:
    @named("rules", "gateway", "gateway6", name=f"masquerade/{load.name}")
    async def _body(trial: Trial) -> None:
        """The header has the client's address, and not the one that the listener sees."""
        with masquerade(trial) as place:
            await trial.talk(load, place=place)


for _load in LOADS:
    _masquerade(_load)


def _zones(title: str, pre: str, output: str) -> None:
    @named("rules", "gateway", "dnat", "lo", "gateway6", "dnat6", name=f"zones/{title}")
    async def _body(trial: Trial) -> None:
        hook = "type filter hook {} priority raw;"
        body = f"chain pre {{\n{hook.format('prerouting')}\n{pre}\n}}\n"
        body += f"chain out {{\n{hook.format('output')}\n{output}\n}}"
        with _table(trial, body):
            for load in LOADS:
                await trial.talk(load)


_zones("both-ways", 'iifname { "gc", "gs" } ct zone set 7', 'oifname != "x" ct zone set 7')
_zones("original", "ct original zone set 9", "ct original zone set 9")


@named("rules", "gateway", "gateway6")
async def flowtable(trial: Trial) -> None:
    """The kernel does not offload connections with a helper, even when a rule asks for it."""
    body = """flowtable fast {
hook ingress priority 0
devices = { gc, gs }
}
chain forward {
type filter hook forward priority 0;
meta l4proto tcp flow add @fast
}"""
    with _table(trial, body):
        for load in (*LOADS, upload("1mb", MEGABYTE, MEGABYTE)):
            await trial.talk(load)


@named("rules", "gateway", "dnat", "lo", "gateway6", injectors=MODULE)
async def conntrack_flushed(trial: Trial) -> None:
    """Conntrack forgets an open connection: later packets must not reach the server unmarked."""
    # Conntrack counts the server's answers INVALID as well.
    trial.drops_expected = trial.invalid_expected = True
    flushed = []

    async def client(end: Client) -> None:
        await end.send(300)
        await end.receive(100)
        flush_conntrack(trial.gateway)
        flushed.append(end)
        await end.send(300)
        await trial.until_dropped("drop_no_syn", count=2)
        end.reset()

    async def server(end: Accepted) -> None:
        await end.receive(300)
        await end.send(100)
        await end.until_end()

    talk = trial.prepare(Load("flushed", client, server))
    with talk.listening():
        pair = talk.client()
        await pair.client.connect()
        await client(pair.client)
        there = pair.accepted
        require(there and len(there.received) == 300, f"{pair}")
        require(not pair.errors, "; ".join(pair.errors))
