# SPDX-License-Identifier: MIT
"""ICMP errors that quote a segment with numbers or a size that the client did not send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from socket import IPPROTO_IP, IPPROTO_IPV6

from .case import Trial
from .endpoints import Client, Lost
from .judge import require
from .loads import SMALL, Load, upload
from .named import named

IP_MTU, IPV6_MTU = 14, 24


@contextmanager
def _rejecting(trial: Trial, answer: str) -> Iterator[None]:
    """The server, or the router in front of it, rejects connections with `answer`."""
    hook = "forward" if trial.place.listener == "far" else "input"
    space = trial.lab.server
    space.nft(f"""table inet refuse {{
  chain it {{
    type filter hook {hook} priority 0;
    tcp dport 8080 reject with icmpx type {answer}
  }}
}}
""")
    unlimited = {"net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0}
    try:
        with space.sysctls(unlimited):
            yield
    finally:
        space.nft("delete table inet refuse\n")


def _rejected(answer: str) -> None:
    @named("icmp", "gateway", "gateway6", "behind", "behind6", name=f"rejected/{answer}", limit=60)
    async def _body(trial: Trial) -> None:
        """connect() fails at once, with the same errno as without the injector."""
        told = {}
        with _rejecting(trial, answer):
            for selected in (False, True):
                pair = trial.prepare(SMALL, selected=selected).client()
                try:
                    await pair.client.connect()
                except Lost:
                    pass
                pair.client.close()
                told[selected] = pair.client.ended
        require(told[True] == told[False] != "closed", f"{told[True]}, the control {told[False]}")
        trial.facts["told"] = told[True]


for _answer in ("host-unreachable", "port-unreachable", "admin-prohibited"):
    _rejected(_answer)


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
