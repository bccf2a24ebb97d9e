# SPDX-License-Identifier: MIT
"""Sizes of segments and windows.

loxilb left holes in the stream after big segments (its issue 1044) and passed packets that grew
beyond the MTU without their header (loxilb-ebpf 92). Cilium ignored the MTU (its issue 24359).
"""

from __future__ import annotations

from socket import SO_RCVBUF, SOL_SOCKET
from socket import socket as Socket

from .case import Trial
from .judge import require
from .loads import MEGABYTE, SERVER_FIRST, SMALL, parallel, small_writes, upload
from .named import ALL, HEADERS, SOME, named
from .net import Namespace
from .talk import Sockets, plain_client, plain_listener

for _impairment in ("clean", "loss1", "loss5", "storm"):
    for _offloads in ("on", "off"):

        @named(
            "sizes",
            "gateway",
            "lo",
            "dnat",
            name=f"small-writes/{_impairment}/{_offloads}",
            impairment=_impairment,
            offloads=_offloads,
            plain=("gateway",),
        )
        async def _small_writes(trial: Trial) -> None:
            await trial.talk(small_writes(1500))


@named("sizes", *ALL, offloads="off")
async def full_first_segment(trial: Trial) -> None:
    """First segments around the MTU's size: none is fragmented, none is lost."""
    before = {space: space.counters() for space in (trial.client, trial.gateway)}
    for size in (1400, 1412, 1420, 1428, 1432, 1439, 1440, 1441, 1447, 1448, 1449, 1460, 2896):
        await trial.talk(upload("first", size, 1))
    for space, counters in before.items():
        for name in ("IpFragCreates", "IpFragFails", "IpReasmReqds", "IcmpOutDestUnreachs"):
            rise = space.counters()[name] - counters[name]
            require(not rise, f"{name} of {space.name} rose by {rise}")


@named("sizes", "lo")
async def mtu_64k(trial: Trial) -> None:
    """The original destination is the host's own, so segments have the size of lo's MTU. When
    several of them are sent again as one, it has no space for the headers of all their frames."""
    network = trial.place.network(True)
    route = ("local", network, "dev", "lo", "table", "local")
    trial.gateway.run("ip", "route", "add", *route)
    try:
        await trial.talk(upload("1mb", MEGABYTE, 300))
    finally:
        trial.gateway.run("ip", "route", "del", *route)


@named("sizes", "gateway", "dnat", "behind")
async def mtu_576(trial: Trial) -> None:
    """Every wire has an MTU of 576 bytes."""
    ends = [(space.name, device) for space, device in trial.lab.devices()]
    with trial.lab.narrowed(576, *ends):
        for load in (SMALL, upload("100k", 100_000, 100_000), SERVER_FIRST):
            await trial.talk(load)


@named("sizes", *SOME, impairment="loss5", offloads="off", plain=("gateway", "gateway6"))
async def tiny_window(trial: Trial) -> None:
    """The server reads slowly into a small buffer: its window is small, or closed."""

    def listener(space: Namespace, family: int) -> Socket:
        sock = plain_listener(space, family)
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 2304)
        return sock

    await trial.talk(upload("window", 100_000, 100), sockets=Sockets(plain_client, listener))


@named("sizes", *SOME, plain=("gateway", "dnat"))
async def window_stays_open(trial: Trial) -> None:
    """Each acknowledgement opens a small window again. The server never announces a closed window,
    so the client must not see one: it would wait for its probe timer without need."""

    def listener(space: Namespace, family: int) -> Socket:
        sock = plain_listener(space, family)
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 20_000)
        return sock

    def seen() -> tuple[int, int]:
        return (
            trial.listener.counters()["TcpExtTCPToZeroWindowAdv"],
            trial.client.counters()["TcpExtTCPWinProbe"],
        )

    rises = {}
    for selected in (False, True):
        before = seen()
        load = upload("window", 600_000, 100)
        await trial.talk(load, selected=selected, sockets=Sockets(plain_client, listener))
        closed, probes = (now - then for now, then in zip(seen(), before, strict=True))
        rises[selected] = closed, probes
    trial.facts["closed, probes"] = list(rises.values())
    closed, probes = rises[True]
    require(probes <= closed, f"{probes} probes of a window that was closed {closed} times")


@named("sizes", "gateway", "gateway6", "behind", impairment="delay", injectors=HEADERS)
async def header_once(trial: Trial) -> None:
    """New data does not take the header along again while the server's ack is still on its way."""
    before = _may_need_another(trial)
    await trial.talk(parallel(20))
    gained, allowed = trial.risen(), _may_need_another(trial) - before
    require(gained.get("ctproxy_headers") == 20, f"counted {gained}")
    again = gained.get("ctproxy_headers_again", 0)
    require(again <= allowed, f"{again} headers again, and {allowed} segments that need one")


def _may_need_another(trial: Trial) -> int:
    """Segments that were sent again, as a slow machine does by itself, or overtook the header."""
    resent = sum(space.counters()["TcpRetransSegs"] for space in (trial.client, trial.listener))
    return resent + trial.listener.counters()["TcpExtTCPOFOQueue"]
