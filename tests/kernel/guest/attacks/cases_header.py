# SPDX-License-Identifier: MIT
"""Bytes of the client at the header's place, in [X+1-H, X+1), or before the first frame.

Each shape is sent on a connection of its own, at each of the MOMENTS. Afterwards the connection
must work as if nothing had been sent there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .forgery import forged
from .peer import Peer

Shape = Callable[[Attack, Peer], None]

REQUEST = b"the request"


def _at_once(attack: Attack, peer: Peer) -> None:
    peer.send(-attack.header, forged(attack, peer)[: attack.header], "PA")


def _bytewise(attack: Attack, peer: Peer) -> None:
    for at, byte in enumerate(forged(attack, peer)[: attack.header], -attack.header):
        peer.send(at, bytes((byte,)), "PA")


def _backwards(attack: Attack, peer: Peer) -> None:
    data = forged(attack, peer)
    for at in range(-1, -attack.header - 1, -1):
        peer.send(at, data[at + attack.header :][:1])


def _across(attack: Attack, peer: Peer) -> None:
    data = bytes(100) + forged(attack, peer)[: attack.header] + REQUEST
    for begin in (attack.header, attack.header + 7, 5, 2, 1):
        peer.send(-begin, data[-begin - len(REQUEST) :], "PA")


def _probes(attack: Attack, peer: Peer) -> None:
    for size in (0, 1, 2, attack.header, 1400):
        peer.send(-1, forged(attack, peer).ljust(1400, b"g")[:size])


def _with_fin(attack: Attack, peer: Peer) -> None:
    peer.send(-attack.header, forged(attack, peer)[: attack.header], "FPA")
    peer.send(-attack.header - 1, b"", "FA")
    peer.send(-1, b"", "FA")


def _with_urg(attack: Attack, peer: Peer) -> None:
    for flags, urgent in (("UA", 1), ("UPA", attack.header), ("A", 9)):
        peer.send(-attack.header, forged(attack, peer)[: attack.header], flags, urgent=urgent)


def _with_syn(attack: Attack, peer: Peer) -> None:
    peer.send(-attack.header - 1, forged(attack, peer), "SA")
    peer.send(-1, forged(attack, peer), "SA")


def _below(attack: Attack, peer: Peer) -> None:
    for further in (1, 2, 3, 4, 8, 100, 60000, 1 << 20, 1 << 30):
        peer.send(-attack.header - further, forged(attack, peer), "PA")
        peer.send(-attack.header - further, b"z" * (further + 10) if further < 200 else b"z")


def _without_ack(attack: Attack, peer: Peer) -> None:
    for flags in ("", "P", "F", "U", "FPU"):
        peer.send(-attack.header, forged(attack, peer)[: attack.header], flags)


def _other_acks(attack: Attack, peer: Peer) -> None:
    for ack in (-1, 1, 2, attack.header, -attack.header, 1000, 1 << 31):
        peer.send(-attack.header, forged(attack, peer)[: attack.header], "PA", ack)


SHAPES: dict[str, Shape] = {
    shape.__name__.strip("_").replace("_", "-"): shape
    for shape in (
        _at_once,
        _bytewise,
        _backwards,
        _across,
        _probes,
        _with_fin,
        _with_urg,
        _with_syn,
        _below,
        _without_ack,
        _other_acks,
    )
}


def before_synack(attack: Attack, shape: Shape) -> None:
    """The injector has seen the SYN; the server has not."""
    peer = attack.peer()
    with syn_lost(attack):
        peer.syn()
        shape(attack, peer)
        attack.settle()
    peer.syn()
    attack.settle()
    _works(attack, peer)


def after_synack(attack: Attack, shape: Shape) -> None:
    """In place of the handshake's last ACK."""
    peer = attack.open()
    shape(attack, peer)
    _works(attack, peer)


def after_data_beyond(attack: Attack, shape: Shape) -> None:
    """The server may have a socket, and data beyond a gap."""
    peer = attack.open()
    peer.send(len(REQUEST), b"behind the hole", "PA")
    attack.settle()
    shape(attack, peer)
    _works(attack, peer)


def after_acknowledged(attack: Attack, shape: Shape) -> None:
    """The server has acknowledged the header."""
    peer = attack.open()
    peer.send()
    attack.settle()
    shape(attack, peer)
    _works(attack, peer)


def after_forgotten(attack: Attack, shape: Shape) -> None:
    """The server has forgotten the connection."""
    peer, accepted = attack.establish(REQUEST)
    accepted.vanish()
    shape(attack, peer)
    attack.settle()
    for accepted in attack.all_accepted(peer)[1:]:
        require(not accepted.received, "accepted again")


MOMENTS = (before_synack, after_synack, after_data_beyond, after_acknowledged, after_forgotten)
"""The first one is not for a local listener, because no wire could lose the SYN behind the
injector."""


def _works(attack: Attack, peer: Peer) -> None:
    peer.send()
    peer.send(0, REQUEST, "PA")
    attack.settle()
    attack.judge()
    if attack.framed:
        return  # ctframe passes bytes before the first byte; the server resets or ignores them
    require(attack.accepted(peer).received, "nothing has arrived")


@contextmanager
def syn_lost(attack: Attack) -> Iterator[None]:
    """Drops SYNs on the wire between gateway and server."""
    listener = attack.trial.listener
    listener.nft(
        """table inet lost {
  chain pre {
    type filter hook prerouting priority -300
    tcp flags & (syn | ack) == syn drop
  }
}
"""
    )
    try:
        yield
    finally:
        listener.nft("delete table inet lost")


def _all_shapes(moment: Callable[[Attack, Shape], None], attack: Attack) -> None:
    if not (attack.place.local and moment is before_synack):
        attack.each(moment, SHAPES)


CASES: dict[str, Function] = {
    f"header-space-{moment.__name__.replace('_', '-')}": partial(_all_shapes, moment)
    for moment in MOMENTS
}
