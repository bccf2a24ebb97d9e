# SPDX-License-Identifier: MIT
"""One client port, two original destinations, one server: NAT changes the second source port.

Conntrack does it by itself, because the replies of both connections would look the same. The
server sees a port that is not the client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET, AF_INET6
from socket import socket as Socket

from ctwsgi.trust import Trust

from .case import Trial
from .decoders import ProxyDecoder
from .endpoints import Accepted, Client, forget
from .injector import InjectorUnderTest
from .judge import require, same_payload
from .named import named
from .talk import plain_listener

PLACES = ("gateway", "dnat", "redirect", "gateway6", "dnat6")

_REQUEST, _ANSWER = 3000, 1000


@contextmanager
def _listening(trial: Trial) -> Iterator[Socket]:
    """A listener without early demux. Before NAT has changed the port of a packet to this host,
    the early demux of Linux 6.1 takes it for one of the first connection, also without injector.
    """
    family = AF_INET if trial.place.version == 4 else AF_INET6
    trial.listener.sysctl({"net.ipv4.tcp_early_demux": 0})
    listener = plain_listener(trial.listener, family)
    try:
        yield listener
    finally:
        forget(listener)
        listener.close()
        trial.listener.sysctl({"net.ipv4.tcp_early_demux": 1})


async def _connect(
    trial: Trial, listener: Socket, port: int, number: int, reader: InjectorUnderTest
) -> tuple[Client, Accepted]:
    """A connection from `port` to destination `number` of the place: a request and its answer."""
    place = trial.place
    family = AF_INET if place.version == 4 else AF_INET6
    sock = trial.client.socket(family)
    client = Client(sock, number * 10_000, (place.source, port), place.original(number))
    await client.connect()
    accepted, peer = await asyncio.get_running_loop().sock_accept(listener)
    accepted.setblocking(False)
    there = Accepted(accepted, number * 10_000 + 5_000, peer[:2], reader.decoder())
    await client.send(_REQUEST)
    await there.receive(_REQUEST)
    await there.send(_ANSWER)
    await client.receive(_ANSWER)
    trial.connections += 1
    return client, there


def judge(client: Client, there: Accepted, reader: InjectorUnderTest) -> None:
    """Payload and origin are right, and the server's rule for sources accepts the connection."""
    same_payload(client, there, "to the server")
    same_payload(there, client, "to the client")
    if reader.name == "none":
        return
    found = there.decoder.destination
    require(found == client.original, f"original destination {found}, not {client.original}")
    if not isinstance(there.decoder, ProxyDecoder):
        return
    header = there.decoder.header
    require(header and header.src == client.source, f"{header} is not from {client.source}")
    assert header
    Trust(inline=True, guarded=True).match_source(header, there.peer)
    if header.auth is not None:
        told = header.translated or header.src
        require(told == there.peer, f"the header tells {told}, the server sees {there.peer}")


async def from_one_port(trial: Trial, reader: InjectorUnderTest) -> None:
    """Two connections at once, then a third when the second has closed."""
    port = next(trial.session.ports)
    with _listening(trial) as listener:
        first = await _connect(trial, listener, port, 1, reader)
        second = await _connect(trial, listener, port, 2, reader)
        ports = [there.peer[1] for _, there in (first, second)]
        require(ports[0] == port != ports[1], f"NAT left the ports {ports} of {port}")
        await _close(*second)
        third = await _connect(trial, listener, port, 3, reader)
        require(third[1].peer[1] != port, "NAT left the third connection its port")
        for pair in (first, third):
            await _close(*pair)
        for client, there in (first, second, third):
            judge(client, there, reader)


async def _close(client: Client, there: Accepted) -> None:
    client.finish()
    await there.until_end()
    there.close()
    await client.until_end()
    client.close()


@named("rules", *PLACES, plain=("gateway", "dnat6"))
async def one_port_two_destinations(trial: Trial) -> None:
    """Unsigned: the header has the client's port, and the server may see another."""
    await from_one_port(trial, trial.injector)
