# SPDX-License-Identifier: MIT
"""The gateway as a bridge, and with a VRF: the hooks see other devices than the packets have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from socket import AF_PACKET, IPPROTO_TCP, PACKET_OUTGOING, SO_RCVBUF, SOCK_RAW, SOL_SOCKET
from socket import socket as Socket

from tests.kernel.guest.attacks.attack import Attack, attack

from .case import Trial
from .judge import require
from .kernel import unsettled, until
from .loads import CLOSE, SERVER_FIRST, SMALL, keepalive, parallel, upload
from .named import MODULE, named
from .net import Namespace
from .places import PORT, Place
from .talk import Sockets, plain_client, plain_listener

LOADS = (SMALL, CLOSE, SERVER_FIRST, keepalive(20), upload("300k", 300_000, 50_000), parallel(20))

DEVICES = {1: "gc", 2: "gs"}
"""The gateway's ends of the wires."""

NETWORK = {4: "10.63.8.", 6: "fd63:8::"}
"""The bridge's network; client, server and gateway have the hosts 1, 2 and 3."""

HARDWARE = {
    "client": "02:63:00:00:08:01",
    "server": "02:63:00:00:08:02",
    "gateway": "02:63:00:00:08:03",
}

ETH_P_ALL = 3

TCP_DEFER_ACCEPT = 9


@contextmanager
def _vrf(trial: Trial, *wires: int) -> Iterator[None]:
    """Puts the gateway's ends of these wires into a VRF. The other wire's networks can be reached
    from it, and it from them."""
    gateway, v4 = trial.gateway, trial.place.version == 4
    networks = {1: "10.61.1.0/24", 2: "10.61.2.0/24"}
    if not v4:
        networks = {1: "fd61:1::/64", 2: "fd61:2::/64"}
    gateway.batch("ip", "link add red type vrf table 61", "link set red up")
    try:
        for wire in wires:
            # This removes neighbours and routes.
            gateway.batch("ip", f"link set {DEVICES[wire]} master red")
            trial.lab.restore_addresses(wire)
        for wire, network in networks.items():
            table = "main" if wire in wires else "61"
            gateway.batch("ip", f"route replace {network} dev {DEVICES[wire]} table {table}")
        yield
    finally:
        gateway.run("ip", "-4" if v4 else "-6", "route", "flush", "table", "61")
        gateway.batch("ip", *(f"link set {DEVICES[wire]} nomaster" for wire in wires))
        gateway.batch("ip", "link del red")
        trial.lab.restore(gateway)


def _in_vrf(name: str, *wires: int) -> None:
    @named("devices", "gateway", "gateway6", name=f"vrf/{name}", injectors=("none", *MODULE))
    async def _body(trial: Trial) -> None:
        """The device to the server, or both, are in a VRF. For the rules each packet comes once
        more, through the VRF's device."""
        with _vrf(trial, *wires):
            for load in LOADS:
                await trial.talk(load)


_in_vrf("server", 2)
_in_vrf("both", 1, 2)


def _answer_in_the_servers_name(attack: Attack) -> None:
    """A forged answer, and then a segment that acknowledges it."""
    peer = attack.open()
    peer.spoof(0, b"S" * 500, "PA")
    attack.settle()
    peer.send(0, b"the request", "PA", 500)
    attack.settle()
    attack.require_counted("drop_ack")


@named("devices", "gateway", "gateway6", name="vrf/forged", injectors=MODULE, limit=600)
async def _forged_in_vrf(trial: Trial) -> None:
    """The client's device is in the server's VRF, but what the client sends in the server's name
    does not come through the server's device."""
    with _vrf(trial, 1, 2):
        await attack(_answer_in_the_servers_name)(trial)


@contextmanager
def _bridge(trial: Trial) -> Iterator[Place]:
    """Puts client and server on two ports of a bridge on the gateway; br_netfilter shows their
    packets to the gateway's rules. The client dials as before, and finds the server there."""
    place, gateway = trial.place, trial.gateway
    net, length = NETWORK[place.version], 24 if place.version == 4 else 64
    flags = "" if place.version == 4 else " nodad"
    hosts = {"client": f"{net}1", "server": f"{net}2", "gateway": f"{net}3"}
    gateway.batch(
        "ip",
        f"link add br8 address {HARDWARE['gateway']} type bridge forward_delay 0 mcast_snooping 0",
        *(
            f"link add {name}8 type veth peer name b8 address {HARDWARE[name]}"
            f" netns {trial.lab.spaces[name].path}"
            for name in ("client", "server")
        ),
        *(f"link set {name}8 master br8 up" for name in ("client", "server")),
        "link set br8 up",
    )
    try:
        gateway.sysctl({f"net.bridge.bridge-nf-call-{tables}tables": 1 for tables in ("ip", "ip6")})
        for name, host in hosts.items():
            device = "br8" if name == "gateway" else "b8"
            trial.lab.spaces[name].batch(
                "ip",
                f"addr add {host}/{length} dev {device}{flags}",
                f"link set {device} up",
                *(
                    f"neigh replace {other} lladdr {HARDWARE[whose]} dev {device}"
                    for whose, other in hosts.items()
                    if whose != name
                ),
            )
        networks = [place.network(selected) for selected in (True, False)]
        trial.client.batch(
            "ip", *(f"route add {n} via {hosts['gateway']} dev b8" for n in networks)
        )
        family, to = ("ip", hosts["server"]) if place.version == 4 else ("ip6", f"[{net}2]")
        rules = "\n".join(
            f"meta l4proto tcp {family} daddr {n} dnat {family} to {to}:{PORT}" for n in networks
        )
        hook = "type nat hook prerouting priority dstnat - 5;"
        gateway.nft(f"table inet extra {{\nchain pre {{\n{hook}\n{rules}\n}}\n}}\n")
        yield replace(
            place, source=hosts["client"], seen_as=hosts["client"], target=hosts["server"]
        )
    finally:
        gateway.nft("table inet extra\ndelete table inet extra\n")
        gateway.batch("ip", "link del client8", "link del server8", "link del br8")


@contextmanager
def _frames(space: Namespace) -> Iterator[Socket]:
    """A socket that has all frames that arrive in `space` through the bridge."""
    with space.socket(AF_PACKET, SOCK_RAW, 0) as sock:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 4 << 20)
        sock.bind(("b8", ETH_P_ALL))
        yield sock


def _judge_frames(sock: Socket) -> int:
    """Returns how many frames for the server arrived, all with its address and the client's."""
    client, server = (bytes.fromhex(HARDWARE[n].replace(":", "")) for n in ("client", "server"))
    count = 0
    while True:
        try:
            frame, (_, _, kind, *_) = sock.recvfrom(1 << 16)
        except BlockingIOError:
            return count
        if kind == PACKET_OUTGOING or frame[0] & 1:
            continue
        shown = " ".join(frame[at : at + 6].hex(":") for at in (0, 6))
        require(frame[:12] == server + client, f"a frame with the addresses {shown}")
        count += 1


@named("devices", "gateway", "gateway6", injectors=("none", *MODULE))
async def bridge(trial: Trial) -> None:
    """The gateway bridges what it translates (br_netfilter): for the rules the packets come through
    the bridge, while each has come through a port."""
    with _bridge(trial) as place, _frames(trial.listener) as frames:
        for load in LOADS:
            await trial.talk(load, place=place)
            require(_judge_frames(frames), "no frame was seen")


def _late(space: Namespace, family: int) -> Socket:
    """A client that does not send the handshake's last ACK, but waits for data to send with it."""
    sock = plain_client(space, family)
    sock.setsockopt(IPPROTO_TCP, TCP_DEFER_ACCEPT, 1)
    return sock


@named("devices", "gateway", "gateway6", injectors=("none", "ctproxy"))
async def bridge_copies(trial: Trial) -> None:
    """What the module sends ahead of a packet has the packet's Ethernet header: the header before
    first data, and the second reset of a client that has sent nothing."""
    sockets = Sockets(_late, plain_listener)
    with _bridge(trial) as place, _frames(trial.listener) as frames:
        await trial.talk(SMALL, place=place, sockets=sockets)
        require(_judge_frames(frames), "no frame was seen")
        talk = trial.prepare(SMALL, place=place, sockets=sockets)
        with talk.listening():
            pair = talk.client()
            await pair.client.connect()
            pair.client.reset()
            await until(lambda: not unsettled(trial.listener), "the server lets go")
        # The SYN, and the reset under one number or, before the header has arrived, under two.
        wanted = 2 if trial.injector.name == "none" else 3
        seen = _judge_frames(frames)
        require(seen == wanted, f"{seen} frames, not {wanted}")
