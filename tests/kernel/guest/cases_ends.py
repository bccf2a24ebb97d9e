# SPDX-License-Identifier: MIT
"""How connections end, and how a port is used again: always as without an injector.

Each case goes past the injector first and then through it, with the same expectation.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from socket import (
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
)

from .case import Trial
from .endpoints import Accepted, Client, Endpoint, Lost
from .judge import require
from .kernel import unsettled, until
from .loads import CLOSE, HALF_CLOSE, SERVER_FIRST, SMALL, Load
from .named import ALL, HEADERS, SOME, named
from .talk import Talk


async def _wait(end: Endpoint) -> None:
    await end.until_end()


async def _reset(end: Endpoint) -> None:
    end.reset()


async def _greeted_then_reset(end: Client) -> None:
    await end.receive(50)
    end.reset()


async def _greet(end: Accepted) -> None:
    await end.send(50)
    await end.until_end()


async def _origin_then_reset(end: Accepted) -> None:
    if end.decoder.peeks:
        await end.origin()
    end.reset()


async def _ask(end: Client) -> None:
    await end.send(3000)
    await end.receive(200)


async def _ask_then_reset(end: Client) -> None:
    await _ask(end)
    end.reset()


async def _ask_then_wait(end: Client) -> None:
    await _ask(end)
    await end.until_end()


async def _answer(end: Accepted) -> None:
    await end.receive(3000)
    await end.send(200)


async def _answer_then_reset(end: Accepted) -> None:
    await _answer(end)
    end.reset()


async def _answer_then_wait(end: Accepted) -> None:
    await _answer(end)
    await end.until_end()


_WITHOUT_DATA = (
    Load("client-at-once", _reset, _wait),
    Load("client-greeted", _greeted_then_reset, _greet),
    Load("server-at-once", _wait, _reset, origin=False),
    Load("server-after-origin", _wait, _origin_then_reset),
)
_WITH_DATA = (
    Load("client-after-data", _ask_then_reset, _answer_then_wait),
    Load("server-after-data", _ask_then_wait, _answer_then_reset),
)


def _expectation(load: Load) -> Load:
    ends = ("reset", "ECONNRESET") if load.name.startswith("client") else ("ECONNRESET", "reset")
    return replace(load, client_end=ends[0], server_end=ends[1], data=load in _WITH_DATA)


RESETS = {load.name: _expectation(load) for load in _WITHOUT_DATA + _WITH_DATA}


def _resets(load: Load) -> None:
    @named("ends", *ALL, name=f"reset/{load.name}", plain=SOME)
    async def _body(trial: Trial) -> None:
        await trial.talk(load, selected=False)
        for _ in range(3):
            await trial.talk(load)


for _load in RESETS.values():
    _resets(_load)


@named("ends", "gateway", "lo", "gateway6", impairment="header-lost", injectors=HEADERS)
async def reset_without_header(trial: Trial) -> None:
    """The header is lost, and then the client resets. The server has a half-open connection: the
    reset must end it, and the server must not retransmit its SYN-ACK."""
    asked = trial.listener.counters()["TcpRetransSegs"]
    talk = trial.prepare(SMALL)
    with talk.listening():
        pair = talk.client()
        await pair.client.connect()
        pair.client.reset()
        trial.connections += 1
        await until(lambda: not unsettled(trial.listener), "the server lets go")
        require(not pair.accepted, "accepted")
    asked = trial.listener.counters()["TcpRetransSegs"] - asked
    require(not asked, f"the server asked again {asked} times")


async def _refusal(trial: Trial, selected: bool) -> str:
    pair = Talk(
        trial.place,
        trial.lab.spaces,
        SMALL,
        trial.injector if selected else None,
        trial.session.ports,
    ).client()
    try:
        await pair.client.connect()
    except Lost:
        return pair.client.ended
    finally:
        pair.client.close()
    return "connected"


@named("ends", *ALL, limit=60)
async def refused(trial: Trial) -> None:
    """Nobody listens: the client's connect() fails at once."""
    for selected in (False, True, True):
        answer = await _refusal(trial, selected)
        require(answer == "ECONNREFUSED", f"{'selected' if selected else 'control'}: {answer}")


@named("ends", *ALL, plain=("gateway", "lo"))
async def idle_probes(trial: Trial) -> None:
    """Keepalive probes from both sides, before and after data, find the connection alive."""
    spaces = {trial.client, trial.listener}

    def probes() -> int:
        return sum(space.counters()["TcpExtTCPKeepAlive"] for space in spaces)

    async def probed(end: Endpoint) -> None:
        for option in (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT):
            end.sock.setsockopt(IPPROTO_TCP, option, 1 + (option == TCP_KEEPCNT))
        end.sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        begun = probes()
        await until(lambda: probes() >= begun + 3, "keepalive probes")

    async def client(end: Client) -> None:
        await probed(end)
        await end.send(300)
        await end.receive(200)
        await probed(end)
        await end.send(300)
        end.finish()
        await end.until_end()

    async def server(end: Accepted) -> None:
        await probed(end)
        await end.receive(300)
        await end.send(200)
        await end.until_end()

    await trial.talk(Load("idle", client, server))


def _reuse(load: Load) -> None:
    @named("ends", *ALL, name=f"port-reuse/{load.name}", plain=SOME)
    async def _body(trial: Trial) -> None:
        """The same port to the same destination again, as soon as the kernel allows it."""
        port = next(trial.session.ports)
        for _ in range(8):
            await trial.talk(load, ports=itertools.repeat(port))


for _load in (SMALL, CLOSE, RESETS["client-at-once"], *map(_expectation, _WITH_DATA)):
    _reuse(_load)


@named("ends", "gateway", "dnat", "lo", "gateway6")
async def early_fin(trial: Trial) -> None:
    """A FIN right after the first data, and a FIN without any data, in turn."""
    for load in (HALF_CLOSE, CLOSE, SERVER_FIRST, CLOSE, HALF_CLOSE):
        await trial.talk(load)
