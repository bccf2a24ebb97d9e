# SPDX-License-Identifier: MIT
"""ICMP errors that quote a segment with numbers or a size that the client did not send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from socket import IPPROTO_IP, IPPROTO_IPV6

from .case import Trial
from .endpoints import Accepted, Client, Lost
from .judge import require
from .loads import SMALL, Load, upload
from .named import ALL, named
from .net import Namespace
from .places import PORT, SERVER

IP_MTU, IPV6_MTU = 14, 24


IP_RECVERR = 11

UNLIMITED = {"net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0}

NOBODY = {4: "10.61.2.77", 6: "fd61:2::77"}
"""An address beside the server's that no host has."""


@contextmanager
def _table(space: Namespace, body: str, family: str = "inet") -> Iterator[None]:
    """Adds this table to the rules of `space` in the `with`."""
    space.nft(f"table {family} extra {{\n{body}\n}}\n")
    try:
        with space.sysctls(UNLIMITED):
            yield
    finally:
        space.nft(f"delete table {family} extra\n")


def _rejecting(space: Namespace, hook: str, answer: str) -> AbstractContextManager[None]:
    """`space` rejects connections to the listener's port with `answer`."""
    rule = f"tcp dport {PORT} reject with {answer}"
    return _table(space, f"chain it {{\ntype filter hook {hook} priority 0;\n{rule}\n}}")


async def _told(trial: Trial) -> str:
    """How connect() fails; the control must have failed in the same way."""
    told = {}
    for selected in (False, True):
        pair = trial.prepare(SMALL, selected=selected).client()
        try:
            await pair.client.connect()
        except Lost:
            pass
        pair.client.close()
        told[selected] = pair.client.ended
    require(told[True] == told[False] != "closed", f"{told[True]}, the control {told[False]}")
    return told[True]


def _rejected(answer: str) -> None:
    @named("icmp", "gateway", "gateway6", "behind", "behind6", name=f"rejected/{answer}", limit=60)
    async def _body(trial: Trial) -> None:
        """The server, or the router in front of it, refuses: connect() fails at once, with the
        same errno as without the injector."""
        hook = "forward" if trial.place.listener == "far" else "input"
        with _rejecting(trial.lab.server, hook, f"icmpx type {answer}"):
            trial.facts["told"] = await _told(trial)


for _answer in ("host-unreachable", "port-unreachable", "admin-prohibited"):
    _rejected(_answer)


def _rejected_here(name: str, answer: str, errno: str) -> None:
    @named("icmp", *ALL, name=f"rejected-here/{name}", limit=60)
    async def _body(trial: Trial) -> None:
        """A rule of the injector's own host refuses."""
        hook = "forward" if trial.place.listener == "server" else "input"
        with _rejecting(trial.gateway, hook, answer):
            told = await _told(trial)
        require(told == errno, f"told {told}")


_rejected_here("host-unreachable", "icmpx type host-unreachable", "EHOSTUNREACH")
_rejected_here("reset", "tcp reset", "ECONNREFUSED")


@named("icmp", "gateway", "gateway6", limit=90)
async def dead_server(trial: Trial) -> None:
    """Nobody has the server's address. The gateway's kernel asks for it three times, and then
    tells the client."""
    place = trial.place
    family, to = ("ip", NOBODY[4]) if place.version == 4 else ("ip6", f"[{NOBODY[6]}]")
    rules = "\n".join(
        f"meta l4proto tcp {family} daddr {place.network(selected)} dnat {family} to {to}:{PORT}"
        for selected in (True, False)
    )
    hook = "type nat hook prerouting priority dstnat - 5;"
    with _table(trial.gateway, f"chain pre {{\n{hook}\n{rules}\n}}"):
        told = await _told(trial)
    require(told == "EHOSTUNREACH", f"told {told}")


async def _ask(end: Client) -> None:
    await end.send(300)
    await end.receive(200)


async def _answer_then_wait(end: Accepted) -> None:
    await end.receive(300)
    await end.send(200)
    await end.until_end()


@named("icmp", "gateway", limit=90)
async def server_dies(trial: Trial) -> None:
    """The server dies during a connection: nobody answers for its address any more. The client,
    which has one byte in flight, is told if it has asked for errors."""
    neighbour = f"{SERVER[4]} dev gs"
    shown = trial.gateway.run("ip", "neigh", "show", *neighbour.split()).split()
    told = {}
    for selected in (False, True):
        talk = trial.prepare(Load("dies", _ask, _answer_then_wait), selected=selected)
        with talk.listening():
            client = talk.client().client
            client.sock.setsockopt(IPPROTO_IP, IP_RECVERR, 1)
            await client.connect()
            await _ask(client)
            drop = "chain it {\ntype filter hook input priority 0;\ndrop\n}"
            with _table(trial.lab.server, drop, "arp"), trial.gateway.sysctls(UNLIMITED):
                trial.gateway.batch("ip", f"neigh del {neighbour}")
                await client.send(1)
                await client.until_end()
            hardware = shown[shown.index("lladdr") + 1]
            trial.gateway.batch("ip", f"neigh replace {neighbour} lladdr {hardware}")
            told[selected] = client.ended
    require(told == {False: "EHOSTUNREACH", True: "EHOSTUNREACH"}, f"{told}")


def _path_mtu(load: Load, offloads: str, *places: str) -> None:
    @named("icmp", *places, name=f"path-mtu/{load.name}/{offloads}", offloads=offloads)
    async def _body(trial: Trial) -> None:
        """A link behind the injector has a small MTU, and the client learns it."""
        v4 = trial.place.version == 4
        narrow = 1000 if v4 else 1300
        # The client sends its first segment again as two. The second one does not begin at a frame,
        # and might return a SYN cookie before the server has acknowledged the first: it is dropped.
        trial.may_drop = ("drop_early",)
        learnt = []

        async def client(end: Client) -> None:
            await load.client(end)
            option = (IPPROTO_IP, IP_MTU) if v4 else (IPPROTO_IPV6, IPV6_MTU)
            learnt.append(end.sock.getsockopt(*option))

        router = ("server", "s1") if trial.place.listener == "far" else ("gateway", "gs")
        with trial.lab.narrowed(narrow, router):
            try:
                for selected in (False, True):
                    await trial.talk(replace(load, client=client), selected=selected)
            finally:
                trial.client.run("ip", "-4" if v4 else "-6", "route", "flush", "cache")
        trial.facts["learnt"] = learnt
        require(learnt[0] == narrow, f"the control has learnt {learnt[0]}")
        # The injector may subtract the size of a frame's header from the MTU that it reports.
        require(narrow - 8 <= learnt[1] <= narrow, f"learnt {learnt[1]} of {narrow}")


# Answers are small: the far end of the wire keeps its MTU, so that only ICMP reports the small one.
for _load in (upload("300k", 300_000, 300), upload("first", 1400, 300)):
    for _offloads in ("on", "off"):
        _path_mtu(_load, _offloads, "behind", "gateway", "behind6", "gateway6")
