# SPDX-License-Identifier: MIT
"""The server behind a bridge of the gateway, as a container is: with br_netfilter and without.

With `bridge-nf-call-iptables` the bridge calls IP's PRE_ROUTING itself, before the packet is
received by the bridge device. So the program there sees a reply after conntrack and NAT.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from .case import Trial
from .cases_devices import LOADS, NETWORK, attached, crossing
from .endpoints import Lost
from .judge import require
from .loads import SMALL
from .named import HEADERS, named
from .net import CommandError
from .places import PORT, Place

PLACES = ("gateway", "gateway6")
BRIDGE, PORT_DEVICE = "br7", "p7"

CALLS = Path("/proc/sys/net/bridge")
"""The settings of br_netfilter, while it is loaded."""

FILTERED = {"filtered": 1, "not-filtered": 0}
TRANSLATED = {"plain": False, "masquerade": True}

HEADER_PACKET = {4: 20 + 32 + 28, 6: 40 + 32 + 52}
"""Length of an unsigned header segment: IP, TCP with timestamps, header."""


@contextmanager
def _bridged(trial: Trial, filtered: int, masquerade: bool) -> Iterator[Place]:
    """The listener is reached by the gateway's bridge BRIDGE; the server's end has the same name.

    With `masquerade` it sees the gateway's address.
    """
    gateway, server = trial.lab.gateway, trial.lab.server
    if not CALLS.exists():
        subprocess.run(["modprobe", "br_netfilter"], check=True, stdin=subprocess.DEVNULL)
    calls = {f"net.bridge.bridge-nf-call-{tool}": filtered for tool in ("iptables", "ip6tables")}
    gateway.run("ip", "link", "add", BRIDGE, "type", "bridge")
    try:
        ends = ("link", "add", PORT_DEVICE, "type", "veth", "peer", "name", BRIDGE)
        gateway.run("ip", *ends, "netns", server.path)
        gateway.run("ip", "link", "set", PORT_DEVICE, "master", BRIDGE, "up")
        with gateway.sysctls(calls), crossing(trial, BRIDGE) as place:
            if masquerade:
                gateway.nft(
                    "table inet hidden {\nchain post {\n"
                    "type nat hook postrouting priority srcnat;\n"
                    f'oifname "{BRIDGE}" masquerade\n}}\n}}\n'
                )
                place = replace(place, seen_as=f"{NETWORK[place.version]}1")
                # The kernel takes these replies for misrouted ones, and tells the server by ND
                # redirects, which conntrack counts. It does so without an injector, too.
                trial.invalid_expected |= bool(filtered) and place.version == 6
            yield place
    finally:
        with suppress(CommandError):
            gateway.nft("delete table inet hidden\n")
        for device in (PORT_DEVICE, BRIDGE):
            with suppress(CommandError):
                gateway.run("ip", "link", "del", device)


def _served(calls: str, nat: str) -> None:
    name = f"bridge/{calls}/{nat}"

    @named("devices", *PLACES, injectors=HEADERS, name=name)
    async def _body(trial: Trial) -> None:
        """Each connection gets one header, with the client's own address."""
        with (
            _bridged(trial, FILTERED[calls], TRANSLATED[nat]) as place,
            attached(trial, BRIDGE) as counters,
        ):
            for load in LOADS:
                await trial.talk(load, place=place)
            headers = counters()["ctproxy_headers"]
            require(headers == trial.connections, f"{headers} headers on {trial.connections}")


def _answered(nat: str) -> None:
    name = f"bridge/answered/{nat}"

    @named("devices", *PLACES, injectors=HEADERS, name=name)
    async def _body(trial: Trial) -> None:
        """The server loses each header that a packet of the client's became.

        What arrives is the answer to the server's complaint, which does not have one hop less.
        """
        with (
            _bridged(trial, 1, TRANSLATED[nat]) as place,
            attached(trial, BRIDGE) as counters,
        ):
            hops = "ip ttl" if place.version == 4 else "ip6 hoplimit"
            length = HEADER_PACKET[place.version]
            trial.lab.server.nft(
                "table inet lossy {\nchain pre {\ntype filter hook prerouting priority raw;\n"
                f'iifname "{BRIDGE}" meta length {length} {hops} 63 counter drop\n}}\n}}\n'
            )
            try:
                await trial.talk(SMALL, place=place)
            finally:
                trial.lab.server.nft("delete table inet lossy\n")
            require(counters()["ctproxy_headers_again"], "the header was not sent again")


def _refused(nat: str) -> None:
    name = f"bridge/unreachable/{nat}"

    @named("devices", *PLACES, injectors=HEADERS, name=name, limit=60)
    async def _body(trial: Trial) -> None:
        """An ICMP error of the server's quotes a number that the client has sent."""
        told = {}
        # Detaching resets the connection that is still being opened, and conntrack is done with it.
        trial.invalid_expected = True
        with _bridged(trial, 1, TRANSLATED[nat]) as place, attached(trial, BRIDGE):
            trial.lab.server.nft(
                "table inet refuse {\nchain in {\ntype filter hook input priority 0;\n"
                f'iifname "{BRIDGE}" tcp dport {PORT} reject with icmpx type host-unreachable\n'
                "}\n}\n"
            )
            try:
                for selected in (False, True):
                    pair = trial.prepare(SMALL, selected=selected, place=place).client()
                    with suppress(Lost):
                        await pair.client.connect()
                    pair.client.close()
                    told[selected] = pair.client.ended
            finally:
                trial.lab.server.nft("delete table inet refuse\n")
        require(told[True] == told[False] != "closed", f"{told[True]}, the control {told[False]}")


for _nat in TRANSLATED:
    for _calls in FILTERED:
        _served(_calls, _nat)
    _answered(_nat)
    _refused(_nat)
