# SPDX-License-Identifier: MIT
"""UDP: every datagram carries its own origin, or does not arrive.

A datagram may be lost. One that arrives is complete, and its origin is that of its sender.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_UDP,
    SO_ERROR,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_SOCKET,
)
from socket import socket as Socket

from .case import OFFLOADS, Trial
from .endpoints import POOL, readable
from .injector import InjectorUnderTest
from .judge import require
from .kernel import flush_conntrack, until
from .named import ALL, MODULE, WRITERS, named
from .places import PORT, Address, Place

IP_OPTIONS, IPV6_DSTOPTS = 4, 59
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
SO_NO_CHECK, SO_RCVBUFFORCE = 11, 33
UDP_SEGMENT = 103

HEADERS = {4: 28, 6: 48}
"""Bytes of the IP and UDP headers, by IP version."""


def prefix(trial: Trial) -> int:
    """How many bytes the injector adds to a datagram."""
    v4, v6 = {"none": (0, 0), "ctframe": (6, 0)}.get(trial.injector.name, (28, 52))
    return v4 if trial.place.version == 4 else v6


class Datagrams:
    """A listener and its clients."""

    def __init__(
        self, trial: Trial, place: Place, injector: InjectorUnderTest, selected: bool
    ) -> None:
        self._trial, self._place = trial, place
        self._injector = injector if selected else InjectorUnderTest()
        self._selected = selected
        self._family = AF_INET if place.version == 4 else AF_INET6
        self.server = trial.lab.spaces[place.listener].socket(self._family, SOCK_DGRAM)
        # Not the wildcard address: an answer must come from the address that was asked.
        self.server.bind((place.target, PORT))
        self.server.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.clients: list[Socket] = []
        self.sent = 0

    def client(self) -> tuple[Socket, Address, Address]:
        """A connected socket, its own address, and the original destination."""
        port = next(self._trial.session.ports)
        source = (self._place.source, port)
        original = self._place.original(port, self._selected)
        sock = self._trial.lab.spaces[self._place.client].socket(self._family, SOCK_DGRAM)
        self.clients.append(sock)
        sock.bind(source)
        sock.connect(original)
        return sock, source, original

    def payload(self, size: int) -> bytes:
        """`size` bytes, different at each call."""
        self.sent += 1
        at = self.sent * 7919 % (len(POOL) - 70_000)
        return bytes(POOL[at : at + size])

    async def receive(self, sock: Socket) -> tuple[bytes, Address]:
        """The next datagram and its sender."""
        while True:
            try:
                data, address = sock.recvfrom(1 << 16)
            except BlockingIOError:
                await readable(sock)
            else:
                return data, address[:2]

    async def exchange(self, client: tuple[Socket, Address, Address], size: int) -> None:
        """Sends a datagram, judges it at the listener, and sends one back."""
        sock, source, original = client
        payload, answer = self.payload(size), self.payload(max(1, size))
        sock.send(payload)
        data, peer = await self.receive(self.server)
        self.judge(data, peer, source, original, payload)
        self.server.sendto(answer, peer)
        back, _ = await self.receive(sock)
        require(back == answer, f"the answer to {size} bytes arrived as {len(back)} others")

    def judge(
        self, data: bytes, peer: Address, source: Address, original: Address, payload: bytes
    ) -> None:
        """Checks a datagram at the listener: payload and both addresses."""
        destination, told, rest = self._injector.datagram(data)
        require(rest == payload, f"{len(rest)} bytes for {len(payload)}, or others")
        require(peer == source, f"came from {peer}, not {source}")
        expected = original if self._injector.name != "none" else None
        require(destination == expected, f"original destination {destination}, not {expected}")
        if self._injector.per_connection:
            require(told == source, f"original source {told}, not {source}")

    def close(self) -> None:
        for sock in (self.server, *self.clients):
            sock.close()


@contextmanager
def datagrams(
    trial: Trial,
    *,
    selected: bool = True,
    injector: InjectorUnderTest | None = None,
) -> Iterator[Datagrams]:
    """A listener at the trial's place, closed at the end of the `with`."""
    made = Datagrams(trial, trial.place, injector or trial.injector, selected)
    try:
        yield made
    finally:
        made.close()


def _sizes(offloads: str) -> None:
    @named("udp", *ALL, name=f"sizes/{offloads}", offloads=offloads)
    async def _body(trial: Trial) -> None:
        """Sizes up to the biggest that fits, in both directions."""
        biggest = 1500 - HEADERS[trial.place.version] - prefix(trial)
        with datagrams(trial) as udp:
            for _ in range(2):
                client = udp.client()
                for size in (0, 1, 2, 3, 100, 548, 1200, biggest - 1, biggest):
                    await udp.exchange(client, size)


_sizes("on")
_sizes("off")


def _beyond(name: str, mtu: int) -> None:
    @named("udp", "gateway", "gateway6", name=name, injectors=WRITERS)
    async def _body(trial: Trial) -> None:
        """Datagrams that fit the MTU only without the origin are dropped and counted."""
        await _beyond_the_mtu(trial, mtu)


_beyond("beyond-the-mtu", 1500)
_beyond("beyond-the-routes-mtu", 1400)


@contextmanager
def _route_mtu(trial: Trial, mtu: int) -> Iterator[None]:
    """The gateway's route to the server has this MTU, which may be lower than the device's."""
    words = [*("-6" for _ in range(trial.place.version == 6)), "route"]
    net = trial.place.target + ("/32" if trial.place.version == 4 else "/128")
    if mtu == 1500:
        yield
        return
    trial.gateway.run("ip", *words, "add", net, "dev", "gs", "mtu", str(mtu))
    try:
        yield
    finally:
        trial.gateway.run("ip", *words, "del", net, "dev", "gs")


async def _beyond_the_mtu(trial: Trial, mtu: int) -> None:
    trial.drops_expected = True
    whole = mtu - HEADERS[trial.place.version]
    with _route_mtu(trial, mtu), datagrams(trial) as udp:
        client = udp.client()
        for size in (whole, whole - prefix(trial) + 1, whole - 1):
            client[0].send(udp.payload(size))
            await udp.exchange(client, 700)
        await udp.exchange(client, whole - prefix(trial))
    dropped = trial.risen().get("drop_mtu", 0)
    require(dropped == 3, f"drop_mtu is {dropped}, not 3")


@named("udp", "gateway", "dnat", "lo", "redirect", offloads="off")
async def without_checksum(trial: Trial) -> None:
    """IPv4 allows a checksum of zero, which means none."""
    with datagrams(trial) as udp:
        client = udp.client()
        client[0].setsockopt(SOL_SOCKET, SO_NO_CHECK, 1)
        for size in (0, 1, 33, 1000, 1401):
            await udp.exchange(client, size)


@named("udp", "gateway", "gateway6", limit=30)
async def datagram_checksums_completed(trial: Trial) -> None:
    """Datagrams reach the injector without checksums, and the device behind it completes them. The
    server verifies each, and drops a wrong one."""
    with completing(trial), datagrams(trial) as udp:
        client = udp.client()
        for size in (0, 1, 33, 1000, 1399):
            await udp.exchange(client, size)


@named("udp", "gateway", "dnat", "gateway6", injectors=WRITERS, offloads="off", limit=30)
async def wrong_checksum(trial: Trial) -> None:
    """A damaged datagram does not arrive, even where conntrack lets it pass: to change it must not
    make its checksum right."""
    trial.may_drop = ("drop_malformed",)
    kept = {"net.netfilter.nf_conntrack_checksum": 0}
    with trial.gateway.sysctls(kept), datagrams(trial) as udp:
        client = udp.client()
        await udp.exchange(client, 100)
        _, (_, port), (host, dialled) = client
        family = AF_INET if trial.place.version == 4 else AF_INET6
        with trial.client.socket(family, SOCK_RAW, IPPROTO_UDP) as raw:
            raw.bind((trial.place.source, 0))
            raw.sendto(struct.pack("!4H", port, dialled, 14, 0x1234) + b"damage", (host, 0))
        await udp.exchange(client, 200)
    # The module drops it; the program leaves the wrong sum to the server.
    risen = trial.risen()
    require(risen.get("drop_malformed", risen.get("udp_ctproxy", 0) - 2) == 1, f"{risen}")


@contextmanager
def completing(trial: Trial) -> Iterator[None]:
    """The device behind the injector completes checksums in software."""
    trial.gateway.offloads("gs", OFFLOADS["off"])
    try:
        yield
    finally:
        trial.gateway.offloads("gs", OFFLOADS["on"])


@named("udp", "gateway", "dnat", "gateway6", limit=30)
async def longer_ip_headers(trial: Trial) -> None:
    """IP options, and an IPv6 extension header."""
    with datagrams(trial) as udp:
        client = udp.client()
        if trial.place.version == 4:
            client[0].setsockopt(IPPROTO_IP, IP_OPTIONS, bytes([1] * 8))  # NOPs
        else:
            client[0].setsockopt(IPPROTO_IPV6, IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
        for size in (0, 1, 33, 1000, 1391):
            await udp.exchange(client, size)


@named("udp", "gateway", "gateway6", limit=30)
async def big_links(trial: Trial) -> None:
    """The program moves the payload in parts of 2048 bytes."""
    ends = [(space.name, device) for space, device in trial.lab.devices()]
    with trial.lab.narrowed(20_000, *ends), datagrams(trial) as udp:
        client = udp.client()
        for size in (2047, 2048, 2049, 4095, 4097, 8192, 9001, 15_000):
            await udp.exchange(client, size)


@named("udp", "gateway", "gateway6", injectors=("ebpf",), limit=30)
async def beyond_what_can_be_built(trial: Trial) -> None:
    """The kernel lets a program make no packet of more than 16 KB."""
    trial.drops_expected = True
    ends = [(space.name, device) for space, device in trial.lab.devices()]
    with trial.lab.narrowed(20_000, *ends), datagrams(trial) as udp:
        client = udp.client()
        for size in (16_384, 19_000):
            client[0].send(udp.payload(size))
            await udp.exchange(client, 500)
    require(trial.risen().get("drop_build") == 2, f"drop_build is not 2: {trial.risen()}")


@named("udp", "dnat", "redirect", "dnat6", "lo", "lo6")
async def fragments_to_this_host(trial: Trial) -> None:
    """Conntrack reassembles them, and no link follows that could be too narrow."""
    with datagrams(trial) as udp:
        client = udp.client()
        for size in (1473, 3000, 8000, 30_000):
            await udp.exchange(client, size)


@named("udp", "gateway", "gateway6", injectors=WRITERS)
async def fragments_beyond_the_mtu(trial: Trial) -> None:
    """They would need fragments again, of which only the first has an origin: dropped, counted.

    The module gets what conntrack has put together. The program gets the first fragment; when that
    is dropped, the kernel drops the others.
    """
    trial.drops_expected = True
    with datagrams(trial) as udp:
        client = udp.client()
        for size in (3000, 8000):
            client[0].send(udp.payload(size))
            await udp.exchange(client, 500)
    name = "drop_fragment" if trial.injector.name == "ebpf" else "drop_mtu"
    require(trial.risen().get(name) == 2, f"{name} is not 2: {trial.risen()}")


@named("udp", "gateway", injectors=("none", *MODULE))
async def fragments_that_fit(trial: Trial) -> None:
    """Fragments of a datagram that fits the MTU are forwarded as one packet."""
    route = f"route {{}} {trial.place.network(True)} via 10.61.1.1"
    trial.client.batch("ip", route.format("add") + " mtu lock 600")
    try:
        with datagrams(trial) as udp:
            client = udp.client()
            client[0].setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
            for size in (500, 600, 1000, 1400):
                await udp.exchange(client, size)
    finally:
        trial.client.batch("ip", route.format("del"))


@named("udp", "gateway", "dnat", "gateway6", injectors=WRITERS)
async def several_in_one(trial: Trial) -> None:
    """UDP_SEGMENT gives the kernel several datagrams as one packet: each is marked or dropped."""
    trial.drops_expected = True
    with datagrams(trial) as udp:
        client = udp.client()
        sock, source, original = client
        await udp.exchange(client, 400)
        sock.setsockopt(IPPROTO_UDP, UDP_SEGMENT, 500)
        payload = udp.payload(4000)
        sock.send(payload)
        sock.setsockopt(IPPROTO_UDP, UDP_SEGMENT, 0)
        last = udp.payload(300)
        sock.send(last)
        pieces = [payload[at : at + 500] for at in range(0, 4000, 500)]
        while True:
            data, peer = await udp.receive(udp.server)
            expected = pieces.pop(0) if len(data) > 450 else last
            udp.judge(data, peer, source, original, expected)
            if expected is last:
                break
        dropped = trial.risen().get("drop_gso", 0)
        trial.facts["pieces missing"] = len(pieces)
        require(not pieces or dropped, f"{len(pieces)} of 8 datagrams vanished uncounted")


def _crowd(impairment: str) -> None:
    @named("udp", "gateway", "dnat", "gateway6", name=f"crowd/{impairment}", impairment=impairment)
    async def _body(trial: Trial) -> None:
        """Many clients at once. Each datagram that arrives is right, in any order and number."""
        with datagrams(trial) as udp:
            sent = {}
            for _ in range(60):
                client = udp.client()
                for size in (50, 700, 1300):
                    payload = udp.payload(size)
                    sent[payload] = client
                    client[0].send(payload)
            seen = set()
            end = udp.client()

            async def last() -> None:
                # The first one may overtake others. When another one arrives, all others have
                # arrived or are lost. Each may be lost itself.
                for number in count():
                    end[0].send(b"last %d" % number)
                    await asyncio.sleep(0.05)

            ending = asyncio.ensure_future(last())
            while True:
                data, peer = await udp.receive(udp.server)
                _, _, payload = trial.injector.datagram(data)
                if payload == b"last 0":
                    continue
                if payload.startswith(b"last "):
                    break
                require(payload in sent, f"{len(payload)} bytes that nobody sent")
                _, source, original = sent[payload]
                udp.judge(data, peer, source, original, payload)
                seen.add(payload)
            ending.cancel()
            trial.facts["arrived"] = len(seen)
            least = 0.7 if impairment.startswith("loss") else 0.95
            require(len(seen) >= least * len(sent), f"{len(seen)} of {len(sent)} arrived")


for _impairment in ("clean", "loss5", "reorder", "duplicate"):
    _crowd(_impairment)


@named("udp", "direct", "direct-local")
async def datagrams_untouched(trial: Trial) -> None:
    """The rule selects them, and there is no NAT."""
    with datagrams(trial, selected=False) as udp:
        for _ in range(3):
            await udp.exchange(udp.client(), 800)


@named("udp", *ALL, plain=("gateway", "dnat"))
async def conntrack_forgets(trial: Trial) -> None:
    """The rule also selects the new entry of a flow that conntrack has forgotten."""
    with datagrams(trial) as udp:
        client = udp.client()
        for _ in range(3):
            await udp.exchange(client, 600)
            flush_conntrack(trial.gateway)


@named("udp", "gateway", "gateway6", "behind", "behind6", limit=60)
async def nobody_there(trial: Trial) -> None:
    """The ICMP error quotes the injector's bytes, and still reaches the client's socket."""
    for selected in (False, True):
        with datagrams(trial, selected=selected) as udp:
            udp.server.close()
            sock, *_ = udp.client()
            sock.send(udp.payload(500))
            await until(partial(_refused, sock), "an error")


def _refused(sock: Socket) -> bool:
    return sock.getsockopt(SOL_SOCKET, SO_ERROR) == errno.ECONNREFUSED
