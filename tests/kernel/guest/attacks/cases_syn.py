# SPDX-License-Identifier: MIT
"""Several SYNs on one connection, and attempts to use the server's answers to all of them.

With SYN cookies the server answers each SYN, and every answer stays valid for one to two minutes.
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
"""An ISN and its SYN-ACK."""


def cookie(peer: Peer) -> Cookie:
    """The cookie of the last SYN."""
    assert peer.synack
    return peer.isn, peer.synack


def use(attack: Attack, peer: Peer, cookies: list[Cookie]) -> None:
    """Uses each cookie at the header's place, and at the first byte, of each of the SYNs. It sends
    an ACK without data and then bytes of the client.
    """
    data = forged(attack, peer)
    for _, synack in cookies:
        for isn, _ in cookies:
            for before in {0, 1, attack.header, attack.header + 1}:
                for content, flags in ((data, "PA"), (b"", "A"), (data[:1], "A"), (data, "FPA")):
                    _send_raw(peer, isn + 1 - before, synack.seq + 1, content, flags)
            # One SYN's cookie, moved along the diagonal to the other SYN.
            there = cookies[0][0]
            _send_raw(peer, isn + 1 - attack.header, synack.seq + 1 + isn - there, data, "PA")
            _send_raw(peer, isn + 1, synack.seq + 1 + isn - there, data, "PA")
    attack.settle()


def _send_raw(peer: Peer, seq: int, ack: int, data: bytes, flags: str) -> None:
    peer.send(seq - peer.first, data, flags, ack - peer.server)


def second_after_synack(attack: Attack, delta: int) -> None:
    """After the first SYN-ACK the injector passes no second one."""
    peer = attack.open()
    first = cookie(peer)
    peer.syn(peer.isn + delta)
    attack.settle()
    synacks = {synack.seq for synack in peer.replied("SA")}
    require(len(synacks) == 1, f"{len(synacks)} SYN-ACKs have come")
    # The client can compute this cookie without a second SYN-ACK.
    guess = Segment(first[1].source, first[1].destination, "SA", first[1].seq + delta)
    use(attack, peer, [first, (peer.isn, guess)])
    peer.isn, peer.synack = first
    peer.send()
    peer.send(0, REQUEST, "PA")


def second_before_synack(attack: Attack, delta: int) -> None:
    """Two SYNs before any SYN-ACK. Only the second may become a connection."""
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
    """The client resets, so that conntrack makes a new entry; then it uses the first cookie."""
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
    """After conntrack has forgotten all: the cookie, alone and after another SYN."""
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
    """A SYN in the window of a half-open connection ends it, and the server keeps the next SYN. The
    server's next numbers belong to a header at another place.
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
    """A third and a fourth SYN, with lower and higher numbers, around the wrap to zero."""
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
