# SPDX-License-Identifier: MIT
"""Several SYNs on one connection, and what the server's answers to them could be used for.

With SYN cookies each SYN is answered, and every answer stays good for one to two minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .forgery import forged
from .peer import Peer
from .segment import Segment

REQUEST = b"the request"

Cookie = tuple[int, Segment]
"""An ISN, and the SYN-ACK that it was given."""


def cookie(peer: Peer) -> Cookie:
    """Of the latest SYN."""
    assert peer.synack
    return peer.isn, peer.synack


def use(attack: Attack, peer: Peer, cookies: list[Cookie]) -> None:
    """Every number that could belong to the header's place of one of the SYNs, or to its first
    byte, with every cookie: bytes of the client's, and the ACK alone before them.
    """
    data = forged(attack, peer)
    for _, synack in cookies:
        for isn, _ in cookies:
            for before in {0, 1, attack.header, attack.header + 1}:
                for content, flags in ((data, "PA"), (b"", "A"), (data[:1], "A"), (data, "FPA")):
                    _send_raw(peer, isn + 1 - before, synack.seq + 1, content, flags)
            # The cookie of one moved along to the other.
            there = cookies[0][0]
            _send_raw(peer, isn + 1 - attack.header, synack.seq + 1 + isn - there, data, "PA")
            _send_raw(peer, isn + 1, synack.seq + 1 + isn - there, data, "PA")
    attack.settle()


def _send_raw(peer: Peer, seq: int, ack: int, data: bytes, flags: str) -> None:
    peer.send(seq - peer.first, data, flags, ack - peer.server)


def second_after_synack(attack: Attack, delta: int) -> None:
    """The first SYN-ACK has come: no other may."""
    peer = attack.open()
    first = cookie(peer)
    peer.syn(peer.isn + delta)
    attack.settle()
    synacks = {synack.seq for synack in peer.replied("SA")}
    require(len(synacks) == 1, f"{len(synacks)} SYN-ACKs have come")
    # What the client can work out without having been told.
    guess = Segment(first[1].source, first[1].destination, "SA", first[1].seq + delta)
    use(attack, peer, [first, (peer.isn, guess)])
    peer.isn, peer.synack = first
    peer.send()
    peer.send(0, REQUEST, "PA")


def second_before_synack(attack: Attack, delta: int) -> None:
    """Both SYNs are under way at once. The second counts, or neither."""
    peer = attack.peer()
    peer.syn()
    isn = peer.isn
    peer.synack = None
    peer.syn(isn + delta)
    peer.syn(isn)
    peer.syn(isn + delta)
    attack.settle()
    if not peer.synack:
        return
    use(attack, peer, [(peer.isn, peer.synack), (isn, peer.synack)])


def after_reset(attack: Attack, delta: int) -> None:
    """The client resets, so that conntrack begins anew; then the first SYN's cookie."""
    peer = attack.open()
    first = cookie(peer)
    peer.send(flags="R")
    attack.settle()
    peer.syn(peer.isn + delta)
    attack.settle()
    second = cookie(peer)
    use(attack, peer, [first, second])
    use(attack, peer, [second, first])


def after_expiry(attack: Attack, delta: int) -> None:
    """Conntrack has forgotten all; then the cookie; then the cookie behind another SYN."""
    peer = attack.open()
    first = cookie(peer)
    attack.forget_conntrack()
    use(attack, peer, [first])
    if not attack.trial.injector.outlives_conntrack:
        attack.require_counted("drop_no_syn")
    peer.syn(peer.isn + delta)
    attack.settle()
    second = cookie(peer)
    use(attack, peer, [first, second])


def within_the_window(attack: Attack, delta: int) -> None:
    """A SYN in the window of one that the server has kept makes it forget that, and the next one
    is kept. Numbers that the server then sends belong to a header elsewhere.
    """
    for between in (1, abs(delta), attack.header - 1, attack.header, attack.header + 1):
        peer = attack.open()
        first = cookie(peer)
        peer.spoof(0, window=65535)
        peer.send(65400, b"outside of the server's window")
        for _ in range(3):
            peer.syn(first[0] + between)
            attack.settle()
            peer.isn = first[0]
            peer.send(65400, b"outside of the server's window")
            peer.send(-1)
            attack.settle()
            for reply in peer.replies[-20:]:
                for at in (0, between, between - attack.header):
                    ack = reply.seq - peer.server
                    peer.send(at, forged(attack, peer), "PA", ack)
                    peer.send(at, forged(attack, peer), "PA", ack + 1)
        attack.settle()
        use(attack, peer, [first])


def three(attack: Attack, delta: int) -> None:
    """A third and a fourth, lower and higher, around the ISN where numbers wrap."""
    delta = abs(delta)
    peer = attack.open(isn=delta - 2)
    cookies = [cookie(peer)]
    for isn in (2**32 - delta, delta, delta - 2, 5):
        peer.syn(isn)
        attack.settle()
        cookies.append(cookie(peer))
    use(attack, peer, cookies)
    peer.send(flags="R", at=0)
    peer.syn(7)
    attack.settle()
    use(attack, peer, [*cookies, cookie(peer)])


def _all_deltas(function: Callable[[Attack, int], None], attack: Attack) -> None:
    size = attack.header
    deltas = (1, -1, 3, size, -size, 10000, -10000, 1 << 31)
    attack.each(function, {f"{delta:+}": delta for delta in deltas})


CASES: dict[str, Function] = {
    f"syns-{function.__name__.replace('_', '-')}": partial(_all_deltas, function)
    for function in (
        second_after_synack,
        second_before_synack,
        after_reset,
        after_expiry,
        within_the_window,
        three,
    )
}
