# SPDX-License-Identifier: MIT
"""Cookies used after a connection has ended, in each state that conntrack can then have for it.

The client sends the cookie of the connection's SYN, or of an earlier SYN, together with bytes of
its own at the place of the header.
"""

from __future__ import annotations

from collections.abc import Callable

from .attack import Attack, Function
from .cases_syn import Cookie, cookie, use
from .peer import Peer
from .server import Accepted

REQUEST = b"the request"

Ending = Callable[[Attack, Peer, Accepted], None]

# `at` of the client's next byte; the server's next byte is at 0.
_NEXT = len(REQUEST)


def client_resets(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE for conntrack and for the server."""
    peer.send(_NEXT, flags="R")


def client_seems_to_reset(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE for conntrack. To the server the number is wrong: it answers with an ACK."""
    peer.send(_NEXT + 5, flags="R")


def server_resets(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE, by the server's RST."""
    accepted.abort()


def client_first(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """Both FINs, the client's first: LAST_ACK, then TIME_WAIT. The server keeps no socket."""
    peer.send(_NEXT, flags="FA")
    attack.settle()
    accepted.close()
    attack.settle()
    peer.send(_NEXT + 1, ack=1)


def server_first(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """Both FINs, the server's first. Its TIME_WAIT is removed, as after a minute."""
    accepted.finish()
    attack.settle()
    peer.send(_NEXT, ack=1)
    peer.send(_NEXT, flags="FA", ack=1)
    attack.settle()
    accepted.vanish()


def server_waits(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE_WAIT: the client sends no FIN, and the server's FIN_WAIT2 has timed out."""
    accepted.finish()
    attack.settle()
    peer.send(_NEXT, ack=1)
    accepted.vanish()


def last_ack(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """LAST_ACK: both FINs, without the last ACK."""
    peer.send(_NEXT, flags="FA")
    attack.settle()
    accepted.finish()
    attack.settle()
    accepted.vanish()


def fin_beyond_hole(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """TIME_WAIT for conntrack, with a FIN that the server never acknowledged."""
    peer.send(_NEXT + 1000, flags="FA")
    attack.settle()
    accepted.finish()
    attack.settle()
    peer.send(_NEXT + 1001, ack=1)
    attack.settle()
    accepted.vanish()


def vanished(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """ESTABLISHED: the server has forgotten the connection without a packet."""
    accepted.vanish()


ENDINGS: dict[str, Ending] = {
    end.__name__.replace("_", "-"): end
    for end in (
        client_resets,
        client_seems_to_reset,
        server_resets,
        client_first,
        server_first,
        server_waits,
        last_ack,
        fin_beyond_hole,
        vanished,
    )
}


def replayed(attack: Attack, end: Ending) -> None:
    """The cookie of the connection's own SYN."""
    peer, accepted = attack.establish(REQUEST)
    end(attack, peer, accepted)
    attack.settle()
    use(attack, peer, [cookie(peer)])


def replayed_earlier(attack: Attack, end: Ending, delta: int) -> None:
    """The cookie of an earlier SYN, `delta` away, that was reset before this connection."""
    peer = attack.open()
    first: Cookie = cookie(peer)
    peer.send(flags="R")
    attack.settle()
    peer.syn(peer.isn + delta)
    attack.settle()
    peer.send()
    peer.send(0, REQUEST, "PA")
    attack.settle()
    accepted = attack.accepted(peer)
    end(attack, peer, accepted)
    attack.settle()
    use(attack, peer, [first, cookie(peer)])


def reused(attack: Attack, end: Ending, delta: int) -> None:
    """A new SYN on the same port, `delta` away, and then the old SYN's cookie."""
    peer, accepted = attack.establish(REQUEST)
    first: Cookie = cookie(peer)
    end(attack, peer, accepted)
    attack.settle()
    peer.syn(peer.isn + delta)
    attack.settle()
    use(attack, peer, [first, cookie(peer)])
    peer.send()
    peer.send(0, REQUEST, "PA")
    attack.settle()
    use(attack, peer, [cookie(peer), first])


DELTAS = {f"{delta:+}": delta for delta in (0, 50, -50, 100000)}

CASES: dict[str, Function] = {
    "ended-replayed": lambda attack: attack.each(replayed, ENDINGS),
    "ended-replayed-earlier": lambda attack: attack.each(replayed_earlier, ENDINGS, DELTAS),
    "ended-reused": lambda attack: attack.each(reused, ENDINGS, DELTAS),
}
