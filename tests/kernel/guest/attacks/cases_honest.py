# SPDX-License-Identifier: MIT
"""An honest client whose numbers look like an attacker's: on a cookie's diagonal, or with the ISN
of the last connection. The defences must not harm it.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .peer import Peer
from .segment import mss, window_scale
from .server import Accepted

REQUEST = b"r" * 300

OFFSETS = {f"{offset:+}": offset for offset in range(-5, 6)}
"""Distances from the diagonal, which is seven numbers wide because of the cookie's MSS bits."""

TRIES = 6

SACK_PERMITTED, SACK = b"\x01\x01\x04\x02", b"\x01\x01\x05"
"""The option of a SYN, and how Linux begins a SACK option."""

LATE = 12
"""Bytes by which the injector may lower an ack that might be a cookie, while cookies are valid."""


def _on_diagonal(attack: Attack, offset: int) -> tuple[Peer, Accepted, int]:
    """A connection whose server has sent so many bytes that their ack is `offset` from the
    diagonal."""
    peer, accepted = attack.establish(REQUEST)
    answer = len(REQUEST) + (8 if attack.framed else attack.header) + offset
    accepted.send(answer)
    attack.settle()
    return peer, accepted, answer


def _delivered(
    attack: Attack,
    peer: Peer,
    at: int,
    data: bytes,
    ack: int,
    flags: str = "PA",
    send: Callable[[int, bytes, str, int], None] | None = None,
) -> None:
    """Sends again until it is acknowledged, as a client does."""
    end = at + len(data) + ("F" in flags)
    done = at
    for _ in range(TRIES):
        (send or peer.send)(done, data[done - at :], flags, ack)
        attack.settle()
        acks = [(reply.ack - peer.first) % 2**32 for reply in peer.replied("A")]
        done = max([done, *(number for number in acks if number <= end)])
        if done == end:
            return
    require(False, f"{done - at} of {end - at} numbers were acknowledged")


def acknowledges(attack: Attack, offset: int) -> None:
    """ACKs without data reach the server, the last one perhaps only with more data."""
    peer, accepted, answer = _on_diagonal(attack, offset)
    peer.send(len(REQUEST), ack=answer)
    attack.settle()
    left = accepted.unacknowledged()
    require(left <= LATE, f"{left} bytes stay unacknowledged")
    _delivered(attack, peer, len(REQUEST), b"n" * 100, answer)
    _delivered(attack, peer, len(REQUEST) + 100, b"n" * 100, answer)
    require(not accepted.unacknowledged(), "the answer stays unacknowledged")


def goes_on(attack: Attack, offset: int) -> None:
    """The client sends another request, in a segment of one byte or of the full size."""
    for size in (1, 100, 1460 if attack.place.version == 4 else 1440):
        peer, accepted, answer = _on_diagonal(attack, offset)
        _delivered(attack, peer, len(REQUEST), b"n" * size, answer)
        require(accepted.unacknowledged() <= LATE, "the answer stays unacknowledged")
        require(accepted.received.count(b"n") >= size, "the request has not arrived")


def server_closes(attack: Attack, offset: int) -> None:
    """The server sends its FIN first; the client sends more data, then its FIN."""
    peer, accepted, answer = _on_diagonal(attack, offset)
    accepted.finish()
    attack.settle()

    def seen() -> int:
        # On a busy machine the server retransmits its answer first, and the FIN waits.
        return answer + bool(peer.replied("F"))

    _delivered(attack, peer, len(REQUEST), b"n" * 100, seen())
    _delivered(attack, peer, len(REQUEST) + 100, b"", seen(), "FA")
    require(accepted.ended == "eof", f"the server saw {accepted.ended or 'no end'}")


def client_closes(attack: Attack, offset: int) -> None:
    """The client sends its FIN first. After both FINs the server has no socket."""
    peer, accepted, answer = _on_diagonal(attack, offset)
    _delivered(attack, peer, len(REQUEST), b"", answer, "FA")
    accepted.close()
    attack.settle()
    # In a slow guest the server may retransmit its answer, and sends the FIN only after that is
    # acknowledged.
    for _ in range(TRIES):
        if peer.replied("F"):
            break
        peer.send(len(REQUEST) + 1, ack=answer)
        attack.settle()
    peer.send(len(REQUEST) + 1, ack=answer + 1)
    attack.settle()
    require(not attack.server.lingering(peer.source), "the server's socket waits for an ack")


def same_isn_again(attack: Attack) -> None:
    """A connection with port and ISN of one that the server has reset gets a header again.

    The first SYN ends conntrack's old entry, and the client's next SYN makes a new one.
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
    """The client's first data is lost, or comes last; then the client sends all again."""
    peer = attack.open()
    peer.send(100, REQUEST[100:], "PA")
    attack.settle()
    peer.send(40, REQUEST[40:100], "PA")
    attack.settle()
    _delivered(attack, peer, 0, REQUEST, 0)
    received = attack.accepted(peer).received
    require(received.count(b"r") >= len(REQUEST), "the request has not arrived")


def header_lost_twice(attack: Attack) -> None:
    """The header is lost twice, and the server has the data behind it. As long as the client's
    first byte is not acknowledged, no SACK block may report it as received.
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


def joined_again(attack: Attack) -> None:
    """Many small segments wait behind a gap. Then the client sends all again in one packet of
    nearly 64 KB, which has no space for the headers of so many frames: the FIN at its end must
    reach the server with the last byte, not before.
    """
    settings = {"net.ipv4.tcp_syncookies": 0, "net.ipv4.tcp_rmem": "4096 1048576 4194304"}
    with attack.trial.listener.sysctls(settings):
        peer = attack.open(options=mss(1460) + window_scale(7))
        peer.send()
        # The server's window grows with what arrives.
        start = 100 * len(REQUEST)
        for at in range(0, start, len(REQUEST)):
            _delivered(attack, peer, at, REQUEST, 0)
        data = bytes(range(256)) * 253
        for at in range(1, 3200, 16):
            peer.send(start + at, data[at : at + 16], "PA")
        attack.settle()

        def send(at: int, piece: bytes, flags: str, ack: int) -> None:
            attack.wire.send_joined(peer.segment(at, piece, flags, ack), 1400)

        _delivered(attack, peer, start, data, 0, "FPA", send)
    accepted = attack.accepted(peer)
    require(accepted.ended == "eof", f"the server saw {accepted.ended or 'no end'}")


CASES: dict[str, Function] = {
    "honest-acknowledges": lambda attack: attack.each(acknowledges, OFFSETS),
    "honest-goes-on": lambda attack: attack.each(goes_on, OFFSETS),
    "honest-server-closes": lambda attack: attack.each(server_closes, OFFSETS),
    "honest-client-closes": lambda attack: attack.each(client_closes, OFFSETS),
    "honest-overtaken": overtaken,
    "honest-header-lost-twice": header_lost_twice,
    "honest-joined-again": joined_again,
    "honest-same-isn-again": same_isn_again,
}
