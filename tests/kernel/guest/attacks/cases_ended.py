# SPDX-License-Identifier: MIT
"""A connection that is over or nearly, in each state that conntrack can have for it, and then again
the cookies of its SYN and of an earlier one, with bytes of the client's where a header belongs.
"""

from __future__ import annotations

from collections.abc import Callable

from .attack import Attack, Function
from .cases_syn import Cookie, cookie, use
from .peer import Peer
from .server import Accepted

REQUEST = b"the request"

End = Callable[[Attack, Peer, Accepted], None]

# The client's next byte is at len(REQUEST), the server's at 0.
_NEXT = len(REQUEST)


def client_resets(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE, on both sides."""
    peer.send(_NEXT, flags="R")


def client_seems_to_reset(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE for conntrack, at whose number the server only asks."""
    peer.send(_NEXT + 5, flags="R")


def server_resets(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE."""
    accepted.abort()


def client_first(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """FINs of both, the client's first: LAST_ACK, TIME_WAIT; the server keeps nothing."""
    peer.send(_NEXT, flags="FA")
    attack.settle()
    accepted.close()
    attack.settle()
    peer.send(_NEXT + 1, ack=1)


def server_first(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """The server's first: its TIME_WAIT, which is then gone as after its minute."""
    accepted.finish()
    attack.settle()
    peer.send(_NEXT, ack=1)
    peer.send(_NEXT, flags="FA", ack=1)
    attack.settle()
    accepted.vanish()


def server_waits(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """CLOSE_WAIT: the client's FIN is missing, and FIN_WAIT2 is over."""
    accepted.finish()
    attack.settle()
    peer.send(_NEXT, ack=1)
    accepted.vanish()


def last_ack(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """LAST_ACK: both FINs, and the last ACK is missing."""
    peer.send(_NEXT, flags="FA")
    attack.settle()
    accepted.finish()
    attack.settle()
    accepted.vanish()


def fin_beyond_hole(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """A FIN that the server never acknowledges, and all that conntrack needs for TIME_WAIT."""
    peer.send(_NEXT + 1000, flags="FA")
    attack.settle()
    accepted.finish()
    attack.settle()
    peer.send(_NEXT + 1001, ack=1)
    attack.settle()
    accepted.vanish()


def vanished(attack: Attack, peer: Peer, accepted: Accepted) -> None:
    """ESTABLISHED: the server has forgotten it without a word."""
    accepted.vanish()


ENDS: dict[str, End] = {
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


def replayed(attack: Attack, end: End) -> None:
    """The connection's own cookie."""
    peer, accepted = attack.establish(REQUEST)
    end(attack, peer, accepted)
    attack.settle()
    use(attack, peer, [cookie(peer)])


def replayed_earlier(attack: Attack, end: End, delta: int) -> None:
    """The cookie of a SYN that was reset before this connection, from `delta` away."""
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


def reused(attack: Attack, end: End, delta: int) -> None:
    """A new SYN on the same port, from `delta` away: the old one's cookie in the new connection."""
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
    "ended-replayed": lambda attack: attack.each(replayed, ENDS),
    "ended-replayed-earlier": lambda attack: attack.each(replayed_earlier, ENDS, DELTAS),
    "ended-reused": lambda attack: attack.each(reused, ENDS, DELTAS),
}
