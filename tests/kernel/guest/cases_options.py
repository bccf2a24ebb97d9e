# SPDX-License-Identifier: MIT
"""TCP options that a client may use, and those that an injector has to remove.

loxilb failed for clients without timestamps (its issue 675).
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from socket import (
    IPPROTO_IP,
    IPPROTO_TCP,
    MSG_FASTOPEN,
    MSG_OOB,
    SO_OOBINLINE,
    SOL_SOCKET,
    TCP_FASTOPEN,
    TCP_NODELAY,
)
from socket import socket as Socket

from .case import OFFLOADS, Trial
from .endpoints import POOL, Client
from .judge import require
from .loads import CLOSE, HALF_CLOSE, MEGABYTE, SERVER_FIRST, SMALL, Load, parallel, upload
from .named import ALL, SOME, WRITERS, named
from .net import Namespace
from .talk import Sockets, listening, plain_client, plain_listener
from .tcp_md5 import sign

IPPROTO_MPTCP = 262
IP_OPTIONS = 4
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
REPAIR_OFF_SILENTLY, SEND_QUEUE = -1, 2


def _client_setting(title: str, setting: str, impairment: str, load: Load) -> None:
    @named("options", *SOME, name=f"{title}/{impairment}", impairment=impairment)
    async def _body(trial: Trial) -> None:
        with trial.client.sysctls({setting: 0}):
            await trial.talk(load)


# Without SACK a client repairs one loss in a round trip. When the retransmission is lost as well,
# it waits 0.2 s, then twice as long, and so on: a megabyte took between one second and over a
# minute.
for _title, _setting, _size in (
    ("no-timestamps", "net.ipv4.tcp_timestamps", MEGABYTE),
    ("no-window-scaling", "net.ipv4.tcp_window_scaling", MEGABYTE),
    ("no-sack", "net.ipv4.tcp_sack", 300_000),
):
    _client_setting(_title, _setting, "clean", SMALL)
    _client_setting(_title, _setting, "loss5", upload("lossy", _size, _size // 10))


@named("options", *SOME, impairment="loss1")
async def ecn(trial: Trial) -> None:
    """ECN is negotiated, and packets carry congestion marks."""
    trial.session.wires.set_netem("loss 3% ecn")
    with (
        trial.client.sysctls({"net.ipv4.tcp_ecn": 1}),
        trial.listener.sysctls({"net.ipv4.tcp_ecn": 1}),
    ):
        await trial.talk(upload("1mb", MEGABYTE, 100_000))


def _cookies(load: Load, impairment: str, *places: str) -> None:
    @named("options", *places, name=f"syn-cookies/{load.name}/{impairment}", impairment=impairment)
    async def _body(trial: Trial) -> None:
        """The server keeps no SYN: the segment with the header must return a valid cookie."""
        before = trial.listener.counters()["TcpExtSyncookiesRecv"]
        with trial.listener.sysctls({"net.ipv4.tcp_syncookies": 2}):
            await trial.talk(load)
            rise = trial.listener.counters()["TcpExtSyncookiesRecv"] - before
        require(rise >= load.connections, f"only {rise} connections came of cookies")


for _load in (SMALL, CLOSE, SERVER_FIRST, HALF_CLOSE):
    _cookies(_load, "clean", *SOME)
_cookies(SMALL, "header-lost", "gateway", "lo", "gateway6")
_cookies(SMALL, "data-lost", *SOME)
# No random loss here: a server with cookies does not retransmit its SYN-ACK, and answers packets
# that come before the first data with an RST, with or without an injector.
_cookies(parallel(40), "duplicate", "gateway", "dnat", "gateway6")


async def _fast_client(end: Client) -> None:
    first = end.sock.sendto(POOL[end.start : end.start + 600], MSG_FASTOPEN, end.original)
    end.sent = first
    end.connected = True
    await end.send(600 - first)
    await end.until_end()


FAST_OPEN = replace(upload("fast-open", 600, 100), client=_fast_client, connects=False)


def _fast_listener(space: Namespace, family: int) -> Socket:
    sock = plain_listener(space, family)
    sock.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 100)
    return sock


@named("options", *ALL)
async def fast_open(trial: Trial) -> None:
    """The SYN carries data. Without an injector the server accepts it. With one the client has to
    send it again, behind the origin."""
    sockets = Sockets(plain_client, _fast_listener)
    accepted = "TcpExtTCPFastOpenPassive"
    # 0x207: client and server use Fast Open without a cookie.
    with (
        trial.client.sysctls({"net.ipv4.tcp_fastopen": 0x207}),
        trial.listener.sysctls({"net.ipv4.tcp_fastopen": 0x207}),
    ):
        before = trial.listener.counters()[accepted]
        await trial.talk(FAST_OPEN, sockets=sockets, selected=False)
        plain = trial.listener.counters()[accepted] - before
        require(plain == 1, f"the control opened {plain} connections fast")
        for _ in range(3):
            await trial.talk(FAST_OPEN, sockets=sockets)
        trial.facts["fast opens"] = trial.listener.counters()[accepted] - before - plain


def _mptcp_client(space: Namespace, family: int) -> Socket:
    return space.socket(family, protocol=IPPROTO_MPTCP)


def _mptcp_listener(space: Namespace, family: int) -> Socket:
    return listening(space.socket(family, protocol=IPPROTO_MPTCP), family)


@named("options", *ALL)
async def mptcp(trial: Trial) -> None:
    """Multipath TCP has sequence numbers of its own, so both sides must fall back to TCP."""
    asked = "MPTcpExtMPCapableSYNRX"
    both = Sockets(_mptcp_client, _mptcp_listener)
    before = trial.listener.counters()[asked]
    await trial.talk(SMALL, sockets=both, selected=False)
    require(trial.listener.counters()[asked] == before + 1, "the control did not speak MPTCP")
    for sockets in (both, Sockets(_mptcp_client, plain_listener)):
        for load in (upload("300k", 300_000, 300_000), SERVER_FIRST, HALF_CLOSE):
            await trial.talk(load, sockets=sockets)
    if trial.injector.name != "none":
        rise = trial.listener.counters()[asked] - before - 1
        require(not rise, f"{rise} connections asked for MPTCP behind the injector")


async def _urgent_client(end: Client) -> None:
    end.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    await end.send(400)
    for _ in range(5):
        at = end.start + end.sent
        end.sent += end.sock.send(POOL[at : at + 300], MSG_OOB)
        await end.send(500)
    await end.until_end()


@named("options", *SOME)
async def urgent(trial: Trial) -> None:
    """Urgent bytes, read in line: each arrives once."""

    def listener(space: Namespace, family: int) -> Socket:
        sock = plain_listener(space, family)
        sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
        return sock

    load = replace(upload("urgent", 400 + 5 * 800, 100), client=_urgent_client)
    await trial.talk(load, sockets=Sockets(plain_client, listener))


@named("options", "gateway", "dnat", "lo", "redirect")
async def ip_options(trial: Trial) -> None:
    """The IP header is longer than 20 bytes."""

    def client(space: Namespace, family: int) -> Socket:
        sock = plain_client(space, family)
        sock.setsockopt(IPPROTO_IP, IP_OPTIONS, bytes([1] * 8))  # NOPs
        return sock

    for load in (SMALL, upload("100k", 100_000, 1000)):
        await trial.talk(load, sockets=Sockets(client, plain_listener))


@named("options", "gateway", "dnat", "gateway6", injectors=WRITERS)
async def signed_segments(trial: Trial) -> None:
    """TCP-MD5 (RFC 2385) signs the bytes that an injector changes: the SYN must be dropped."""
    trial.drops_expected = True

    def client(space: Namespace, family: int) -> Socket:
        sock = plain_client(space, family)
        sign(sock, family)
        return sock

    talk = trial.prepare(SMALL, sockets=Sockets(client, plain_listener))
    with talk.listening():
        pair = talk.client()
        attempt = asyncio.ensure_future(pair.client.connect())
        await trial.until_dropped("drop_signature_option")
        attempt.cancel()
        require(not pair.accepted, "accepted")


@named("options", *SOME)
async def sequence_wrap(trial: Trial) -> None:
    """Sequence numbers wrap through zero, in the stream or within the header."""
    for isn in (1, 10, 27, 28, 29, 2**32 - 1, 2**32 - 8, 2**32 - 400, 2**32 - 20_000):

        def client(space: Namespace, family: int, isn: int = isn) -> Socket:
            sock = plain_client(space, family)
            sock.setsockopt(IPPROTO_TCP, TCP_REPAIR, 1)
            sock.setsockopt(IPPROTO_TCP, TCP_REPAIR_QUEUE, SEND_QUEUE)
            sock.setsockopt(IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("I", isn))
            sock.setsockopt(IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_SILENTLY)
            return sock

        await trial.talk(upload("wrap", 50_000, 500), sockets=Sockets(client, plain_listener))


@named("options", "gateway", "gateway6")
async def checksums_completed(trial: Trial) -> None:
    """Packets reach the injector without checksums, and the device behind it completes them. The
    server verifies each: with offloads on every wire it would believe a wrong one.

    loxilb counted such a sum twice (ebpf #93).
    """
    before = trial.listener.counters()["TcpInCsumErrors"]
    trial.gateway.offloads("gs", OFFLOADS["off"])
    try:
        for load in (SMALL, upload("300k", 300_000, 1000), SERVER_FIRST, HALF_CLOSE):
            await trial.talk(load)
    finally:
        trial.gateway.offloads("gs", OFFLOADS["on"])
    errors = trial.listener.counters()["TcpInCsumErrors"] - before
    require(not errors, f"{errors} wrong checksums")
