# SPDX-License-Identifier: MIT
"""An honest client whose numbers happen to be where an attacker's would: on a cookie's diagonal,
with the ISN of the connection before. What is done against attackers must not be done to it.
"""

from __future__ import annotations

from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .peer import Peer
from .segment import mss
from .server import Accepted

REQUEST = b"r" * 300

OFFSETS = {f"{offset:+}": offset for offset in range(-5, 6)}
"""From the diagonal; a cookie's MSS makes it seven numbers wide."""

TRIES = 6

SACK_PERMITTED, SACK = b"\x01\x01\x04\x02", b"\x01\x01\x05"
"""The option in a SYN; how Linux begins the other one."""

LATE = 12
"""Bytes by which the module may lower an ack that could be a cookie's, while cookies live."""


def _on_diagonal(attack: Attack, offset: int) -> tuple[Peer, Accepted, int]:
    """The server has answered with so many bytes that their ack is on it, or beside it."""
    peer, accepted = attack.establish(REQUEST)
    answer = len(REQUEST) + (8 if attack.framed else attack.header) + offset
    accepted.send(answer)
    attack.settle()
    return peer, accepted, answer


def _delivered(
    attack: Attack, peer: Peer, at: int, data: bytes, ack: int, flags: str = "PA"
) -> None:
    """Sends until it is acknowledged, as a client does; a FIN with the last piece."""
    end = at + len(data) + ("F" in flags)
    done = at
    for _ in range(TRIES):
        peer.send(done, data[done - at :], flags, ack)
        attack.settle()
        acks = [(reply.ack - peer.first) % 2**32 for reply in peer.replied("A")]
        done = max([done, *(number for number in acks if number <= end)])
        if done == end:
            return
    require(False, f"{done - at} of {end - at} numbers were acknowledged")


def acknowledges(attack: Attack, offset: int) -> None:
    """Bare ACKs: what the server has sent is acknowledged to it, the end perhaps with more data."""
    peer, accepted, answer = _on_diagonal(attack, offset)
    peer.send(len(REQUEST), ack=answer)
    attack.settle()
    left = accepted.unacknowledged()
    require(left <= LATE, f"{left} bytes stay unacknowledged")
    _delivered(attack, peer, len(REQUEST), b"n" * 100, answer)
    _delivered(attack, peer, len(REQUEST) + 100, b"n" * 100, answer)
    require(not accepted.unacknowledged(), "the answer stays unacknowledged")


def goes_on(attack: Attack, offset: int) -> None:
    """The next request, as small and as large as a segment can be."""
    for size in (1, 100, 1460 if attack.place.version == 4 else 1440):
        peer, accepted, answer = _on_diagonal(attack, offset)
        _delivered(attack, peer, len(REQUEST), b"n" * size, answer)
        require(accepted.unacknowledged() <= LATE, "the answer stays unacknowledged")
        require(accepted.received.count(b"n") >= size, "the request has not arrived")


def server_closes(attack: Attack, offset: int) -> None:
    """The server's FIN first; the client has more to say, and closes as well."""
    peer, accepted, answer = _on_diagonal(attack, offset)
    accepted.finish()
    attack.settle()

    def seen() -> int:
        # On a busy machine the answer is sent again before the FIN, which then has to wait.
        return answer + bool(peer.replied("F"))

    _delivered(attack, peer, len(REQUEST), b"n" * 100, seen())
    _delivered(attack, peer, len(REQUEST) + 100, b"", seen(), "FA")
    require(accepted.ended == "eof", f"the server saw {accepted.ended or 'no end'}")


def client_closes(attack: Attack, offset: int) -> None:
    """The client's FIN first; the server's is acknowledged, and its socket goes."""
    peer, accepted, answer = _on_diagonal(attack, offset)
    _delivered(attack, peer, len(REQUEST), b"", answer, "FA")
    accepted.close()
    attack.settle()
    # A slow guest's server may have sent its answer again by now, and holds the FIN back until that
    # is acknowledged.
    for _ in range(TRIES):
        if peer.replied("F"):
            break
        peer.send(len(REQUEST) + 1, ack=answer)
        attack.settle()
    peer.send(len(REQUEST) + 1, ack=answer + 1)
    attack.settle()
    require(not attack.server.lingering(peer.source), "the server's socket waits for an ack")


def same_isn_again(attack: Attack) -> None:
    """Port and ISN are those of a connection that the server has reset: the header comes again.

    The first SYN ends what conntrack has of the old one, the client's next begins anew.
    """
    peer, accepted = attack.establish(REQUEST)
    accepted.abort()
    attack.settle()
    for _ in range(2):
        peer.syn()
        attack.settle()
    peer.send()
    peer.send(0, b"once more", "PA")
    attack.settle()
    latest = attack.accepted(peer)
    require(latest is not accepted and latest.received, "nothing has arrived")


def overtaken(attack: Attack) -> None:
    """What the client sends first is lost, or comes last; then all is sent again."""
    peer = attack.open()
    peer.send(100, REQUEST[100:], "PA")
    attack.settle()
    peer.send(40, REQUEST[40:100], "PA")
    attack.settle()
    _delivered(attack, peer, 0, REQUEST, 0)
    received = attack.accepted(peer).received
    require(received.count(b"r") >= len(REQUEST), "the request has not arrived")


def header_lost_twice(attack: Attack) -> None:
    """The server has data behind the header's place and says so: while the client is told that
    its first byte is missing, no SACK block may tell it that it is not.
    """
    listener = attack.trial.listener
    listener.nft(
        """table inet lost {
  chain pre {
    type filter hook prerouting priority -300
    tcp dport 8080 @th,160,32 0x0d0a0d0a drop
  }
}
"""
    )
    try:
        with listener.sysctls({"net.ipv4.tcp_syncookies": 0}):
            peer = attack.open(options=mss(1460) + SACK_PERMITTED)
            for at in (0, 100, 200):
                peer.send(at, REQUEST[at : at + 100], "PA")
                attack.settle()
    finally:
        listener.nft("delete table inet lost")
    waits = [reply for reply in peer.replied("A") if "S" not in reply.flags]
    require(waits, "the server has not answered")
    blocks = [reply for reply in waits if reply.ack == peer.first and SACK in reply.options]
    require(not blocks, f"a SACK block beside an ack of nothing: {blocks[:1]}")
    _delivered(attack, peer, 0, REQUEST, 0)
    received = attack.accepted(peer).received
    require(received.count(b"r") >= len(REQUEST), "the request has not arrived")


CASES: dict[str, Function] = {
    "honest-acknowledges": lambda attack: attack.each(acknowledges, OFFSETS),
    "honest-goes-on": lambda attack: attack.each(goes_on, OFFSETS),
    "honest-server-closes": lambda attack: attack.each(server_closes, OFFSETS),
    "honest-client-closes": lambda attack: attack.each(client_closes, OFFSETS),
    "honest-overtaken": overtaken,
    "honest-header-lost-twice": header_lost_twice,
    "honest-same-isn-again": same_isn_again,
}
