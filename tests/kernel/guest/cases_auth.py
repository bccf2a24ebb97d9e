# SPDX-License-Identifier: MIT
"""Signed headers: keys change while connections begin and end, and each header verifies."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ctwsgi.wire import proxy
from ctwsgi.wire.auth import Key, KeyRing

from .case import Trial
from .cases_ports import PLACES, from_one_port, judge
from .cases_rules import masquerade
from .cases_udp import completing, datagrams
from .decoders import ProxyDecoder
from .injector import WritesHeaders
from .judge import require
from .loads import CLOSE, SERVER_FIRST, SMALL, Load, parallel, upload
from .named import ALL, HEADERS, named
from .talk import Talk

KEYS = {
    5: bytes(range(100, 132)),
    9: bytes(range(16)),
    200: bytes(range(7, 31)),
}
"""Secrets by key id, from 16 to 32 bytes long."""

RING = KeyRing(Key(number, secret) for number, secret in KEYS.items())


def _line(number: int) -> str:
    return f"{number} {KEYS[number].hex()}\n"


class _Keys:
    """The gateway's keys, which the end of the `with` removes."""

    def __init__(self, trial: Trial, *numbers: int) -> None:
        self._trial = trial
        self._numbers = numbers

    def set(self, number: int) -> None:
        self._trial.injector.set_keys(self._trial.gateway, _line(number))

    def remove(self, number: int) -> None:
        self._trial.injector.set_keys(self._trial.gateway, f"{number}\n")

    def __enter__(self) -> _Keys:
        for number in self._numbers:
            self.set(number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in KEYS:
            self.remove(number)


def _signers(talk: Talk) -> set[int | None]:
    decoders = [pair.accepted.decoder for pair in talk.pairs.values() if pair.accepted]
    return {d.header.auth for d in decoders if isinstance(d, ProxyDecoder) and d.header}


async def _signed(trial: Trial, load: Load) -> set[int | None]:
    assert isinstance(trial.injector, WritesHeaders)
    return _signers(await trial.talk(load, injector=trial.injector.signed_by(RING)))


def _loads(load: Load, impairment: str, *places: str) -> None:
    @named(
        "auth",
        *places,
        name=f"signed/{load.name}/{impairment}",
        impairment=impairment,
        injectors=HEADERS,
    )
    async def _body(trial: Trial) -> None:
        with _Keys(trial, 9):
            signers = await _signed(trial, load)
        require(signers == {9}, f"signed by {signers}")


for _load in (SMALL, CLOSE, SERVER_FIRST, upload("300k", 300_000, 1000)):
    _loads(_load, "clean", *ALL)
_loads(parallel(40), "loss5", "gateway", "dnat", "gateway6")
_loads(parallel(40), "duplicate30", "gateway", "dnat6")
for _load in (SMALL, SERVER_FIRST):
    _loads(_load, "header-lost", "gateway", "lo", "gateway6")


@named("auth", *ALL, injectors=HEADERS, plain=("gateway", "dnat6"))
async def rotation(trial: Trial) -> None:
    """The key with the lowest id signs; without a key no header is signed."""

    async def signers(expected: int) -> None:
        found = await _signed(trial, SMALL)
        require(found == {expected}, f"signed by {found}, not {expected}")

    with _Keys(trial, 200) as keys:
        await signers(200)
        keys.set(9)
        await signers(9)
        keys.set(5)
        await signers(5)
        keys.remove(9)
        await signers(5)
        keys.remove(5)
        await signers(200)
    talk = await trial.talk(SMALL)
    (pair,) = talk.pairs.values()
    assert pair.accepted
    assert isinstance(pair.accepted.decoder, ProxyDecoder)
    header = pair.accepted.decoder.header
    require(header and not header.tlvs, f"without keys: {header}")


@named("auth", "gateway", "dnat", injectors=HEADERS)
async def rotation_under_load(trial: Trial) -> None:
    """Every header verifies with the key that was set when its SYN came."""
    with _Keys(trial, 9) as keys:

        async def rotate() -> None:
            while True:
                keys.set(5)
                await asyncio.sleep(0.05)
                keys.remove(5)
                await asyncio.sleep(0.05)

        rotating = asyncio.ensure_future(rotate())
        try:
            # A key that was removed before the SYN-ACK comes cannot sign. The injector drops that
            # SYN-ACK, and the client sends its SYN again.
            trial.drops_expected = True
            signers = await _signed(trial, replace(parallel(200), at_once=20))
        finally:
            rotating.cancel()
    # The machine's speed decides which key signed how often. None may be unsigned.
    require(signers and signers <= {5, 9}, f"signed by {signers}")


@named("auth", *PLACES, injectors=HEADERS, plain=("gateway", "dnat6"))
async def one_port_two_destinations(trial: Trial) -> None:
    """A signed header names the port that NAT made of the client's."""
    assert isinstance(trial.injector, WritesHeaders)
    with _Keys(trial, 9):
        await from_one_port(trial, trial.injector.signed_by(RING))


@named("auth", "gateway", "gateway6", injectors=HEADERS)
async def masqueraded(trial: Trial) -> None:
    """A signed header names the address that the server sees instead of the client's."""
    assert isinstance(trial.injector, WritesHeaders)
    reader = trial.injector.signed_by(RING)
    with _Keys(trial, 9), masquerade(trial) as place:
        talk = await trial.talk(SMALL, place=place, injector=reader)
    for pair in talk.pairs.values():
        assert pair.accepted
        require(pair.accepted.peer[0] == place.seen_as, f"not masqueraded: {pair.accepted.peer}")
        judge(pair.client, pair.accepted, reader)


@named("auth", "gateway", injectors=("ctproxy",))
async def keys_stay_secret(trial: Trial) -> None:
    """Root can write keys and cannot read them. A write with one wrong line changes nothing."""
    with _Keys(trial, 9, 5):
        listing = trial.gateway.proc("ctinject_keys")
        for secret in KEYS.values():
            require(secret.hex() not in listing.lower(), "a key can be read")
        for wrong in ("7", "9 00ff", "9 " + "00" * 33, "300 " + "00" * 16, "9 " + "zz" * 16):
            try:
                trial.injector.set_keys(trial.gateway, f"5\n{wrong}\n")
            except OSError:
                continue
            require(wrong == "7", f"{wrong!r} was accepted")
            keep = trial.injector.set_keys
            keep(trial.gateway, _line(5))
        signers = await _signed(trial, SMALL)
    require(signers == {5}, f"signed by {signers}: a refused change took away a key")


@named("auth", *ALL, injectors=HEADERS, plain=("gateway", "dnat", "gateway6"))
async def signed_datagrams(trial: Trial) -> None:
    """Each datagram has its own signature."""
    await _exchange_signed(trial)


@named("auth", "gateway", "gateway6", injectors=HEADERS, offloads="off", limit=30)
async def signed_datagrams_without_offloads(trial: Trial) -> None:
    """The injector corrects complete checksums. A signed header has an odd number of bytes."""
    await _exchange_signed(trial)


@named("auth", "gateway", "gateway6", injectors=HEADERS, limit=30)
async def signed_datagram_checksums_completed(trial: Trial) -> None:
    """The device behind the injector completes them."""
    with completing(trial):
        await _exchange_signed(trial)


async def _exchange_signed(trial: Trial) -> None:
    assert isinstance(trial.injector, WritesHeaders)
    with _Keys(trial, 9), datagrams(trial, injector=trial.injector.signed_by(RING)) as udp:
        client = udp.client()
        for size in (0, 1, 20, 33, 1000, 1300, 1401 if trial.place.version == 4 else 1375):
            await udp.exchange(client, size)


@named("auth", "gateway", "gateway6", injectors=HEADERS)
async def masqueraded_datagrams(trial: Trial) -> None:
    """A signed header names the address and the port that the server sees instead of the
    client's."""
    assert isinstance(trial.injector, WritesHeaders)
    reader = trial.injector.signed_by(RING)
    with _Keys(trial, 9), masquerade(trial) as place, datagrams(trial, injector=reader) as udp:
        sock, source, original = udp.client()
        for size in (0, 33, 1000):
            payload = udp.payload(size)
            sock.send(payload)
            data, peer = await udp.receive(udp.server)
            require(peer[0] == place.seen_as, f"not masqueraded: {peer}")
            header, rest = proxy.decode_datagram(data, keys=RING)
            told = (header.src, header.dst, header.translated, rest)
            require(told == (source, original, peer, payload), f"{told} from {source}, {peer}")
