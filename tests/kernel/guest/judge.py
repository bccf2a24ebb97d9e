# SPDX-License-Identifier: MIT
"""The checks of every conversation; the package's docstring has the list.

The text of a `Failure` says what was seen and what was expected, short enough for a table.
"""

from __future__ import annotations

from .endpoints import POOL, Accepted, Client, Endpoint
from .places import PORT
from .talk import Pair, Talk


class Failure(Exception):
    """A check of a case failed."""


def require(condition: object, why: str) -> None:
    """Raises Failure unless the condition holds."""
    if not condition:
        raise Failure(why)


def judge_talk(talk: Talk) -> None:
    """Checks all connections of a talk that has ended by itself."""
    count = talk.load.connections
    require(not talk.unexpected, f"connections that nobody made: {talk.unexpected[:3]}")
    require(len(talk.pairs) == count, f"{len(talk.pairs)} of {count} connections made")
    bad = []
    for pair in talk.pairs.values():
        try:
            judge_pair(pair, talk)
        except Failure as e:
            bad.append(f"{e} ({pair})")
    if bad:
        raise Failure(f"{len(bad)} of {count} connections: {bad[0]}")


def judge_pair(pair: Pair, talk: Talk) -> None:
    """Checks one connection: payload, addresses, end."""
    client, there = pair.client, pair.accepted
    require(not pair.errors, "; ".join(pair.errors))
    require(there, "never accepted")
    assert there
    same_payload(client, there, "to the server")
    same_payload(there, client, "to the client")
    peer = (talk.place.seen_as, client.source[1])
    require(there.peer == peer, f"peer is {there.peer}, not {peer}")
    require(there.local == (talk.place.target, PORT), f"arrived at {there.local}")
    judge_origin(client, there, talk)
    ends = (client.ended, there.ended)
    expected = (talk.load.client_end, talk.load.server_end)
    require(ends == expected, f"client and server saw {ends}, not {expected}")


def judge_origin(client: Client, there: Accepted, talk: Talk) -> None:
    """Checks the addresses that the decoder found at the listener."""
    injector = talk.injector
    if not talk.load.origin and there.decoder.destination is None:
        return
    told = injector.name != "none" and (talk.load.data or injector.per_connection)
    expected = client.original if told else None
    found = there.decoder.destination
    require(found == expected, f"original destination {found}, not {expected}")
    if injector.per_connection:
        found = there.decoder.source
        require(found == client.source, f"original source {found}, not {client.source}")
        require(not there.split_header, f"a first look shows only {there.split_header!r}")


def same_payload(sender: Endpoint, receiver: Endpoint, way: str) -> None:
    """Compares by sha256. A failure's text has the first byte that differs."""
    if sender.sent_digest() == receiver.digest():
        return
    expected, got = POOL[sender.start : sender.start + sender.sent], receiver.received
    common = min(len(expected), len(got))
    step = 4096
    at = next((i for i in range(0, common, step) if expected[i : i + step] != got[i : i + step]), 0)
    while at < common and expected[at] == got[at]:
        at += 1
    raise Failure(f"{way}: {len(got)} of {len(expected)} bytes, the first {at} are right")
