# SPDX-License-Identifier: MIT
"""SYN cookies: a listener without memory of a SYN accepts any ACK that carries a valid cookie.

Linux adds the client's ISN to the cookie. A client with cookie C for ISN X therefore knows that C+d
is the cookie for X+d, for any d. The cookie's two lowest bits encode the MSS, so that seq may be
wrong by up to three. An injector must therefore watch all pairs (seq, ack) on this diagonal,
whenever the server may have forgotten the connection.

In these cases the server has sent H + k bytes. A segment at the client's byte k that acknowledges
exactly these carries the cookie for an ISN that is k + H higher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .cases_header import syn_lost
from .forgery import forged
from .peer import Peer
from .segment import mss, timestamps, window_scale
from .server import Accepted

REQUEST = b"r" * 300

PORTS = 60

NEVER = {"net.ipv4.tcp_syncookies": 0}

AHEAD, FURTHEST = 1 << 16, 1 << 23
"""How far ahead the cookie's number should be, and where the window ends. The server's clock for
ISNs needs half a second from one to the other."""

TRIES = 5
"""A slow machine may need more than this half second between two SYNs."""

REUSED = 100
"""`at` of the segment that tries to open a second connection: k in the docstring above."""

BEFORE = 20
"""Bytes of a frame before the cookie's number."""


def _replay(attack: Attack, peer: Peer) -> None:
    """Sends a segment at REUSED whose ack is on the diagonal of the connection's cookie."""
    ack = REUSED + (0 if attack.framed else attack.header)
    if attack.framed:
        # In the server's numbers there is one frame's header before it.
        ack += 8
    peer.send(REUSED, forged(attack, peer), "PA", ack)
    attack.settle()


def _answered(attack: Attack) -> tuple[Peer, Accepted]:
    """A request, and an answer that the client does not acknowledge."""
    peer, accepted = attack.establish(REQUEST, options=mss(1460))
    accepted.send(400)
    attack.settle()
    return peer, accepted


def diagonal_after_abort(attack: Attack) -> None:
    """The server resets. The RST's number is beyond what the client has acknowledged, so conntrack
    does not trust it and keeps the connection ESTABLISHED.
    """
    peer, accepted = _answered(attack)
    peer.send(len(REQUEST), b"more", "PA")
    attack.settle()
    # Otherwise the RST follows the server's own ACK, and conntrack trusts it.
    peer.send(len(REQUEST))
    attack.settle()
    accepted.abort()
    attack.settle()
    _replay(attack, peer)


def diagonal_after_fin_wait(attack: Attack) -> None:
    """The server closes, the client does not: FIN_WAIT2 times out without a packet."""
    peer, accepted = _answered(attack)
    accepted.finish()
    attack.settle()
    peer.send(len(REQUEST), ack=401)
    attack.settle()
    accepted.vanish()
    _replay(attack, peer)


def diagonal_after_loss(attack: Attack) -> None:
    """The server forgets the connection without an RST, or the RST is lost."""
    peer, accepted = _answered(attack)
    accepted.vanish()
    _replay(attack, peer)


def diagonal_after_clock_set(attack: Attack) -> None:
    """The same, and the gateway's clock is set meanwhile. A cookie is valid for two minutes of the
    server's uptime, whatever the time of day.
    """
    for hours in (1, -1):
        peer, accepted = _answered(attack)
        accepted.vanish()
        with _clock_set(hours * 3600):
            _replay(attack, peer)
            attack.judge()


@contextmanager
def _clock_set(seconds: int) -> Iterator[None]:
    ahead = time.time() - time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + ahead)


WALL_CLOCK: dict[str, Function] = {"diagonal-after-clock-set": diagonal_after_clock_set}
"""Not for an injector that is tested on the kernel of the developer's own machine."""


def bare_ack_then_data(attack: Attack) -> None:
    """The same, but an ACK without data carries the cookie, and the data follows."""
    peer, accepted = _answered(attack)
    accepted.vanish()
    ack = REUSED + (8 if attack.framed else attack.header)
    peer.send(REUSED, ack=ack)
    attack.settle()
    _replay(attack, peer)


def mss_slack_below_first(attack: Attack) -> None:
    """Segments up to three bytes before the first byte, which the MSS bits of a cookie allow."""
    peer = attack.open(options=mss(536))
    data = forged(attack, peer)
    for before in (3, 2, 1):
        peer.send(-before, data[:before], "PA")
        peer.send(-before, data[:before] + b"and the stream itself", "PA")
    attack.settle()
    peer.send(0, b"and the stream itself", "PA")


def mss_slack_at_header(attack: Attack) -> None:
    """The same around the header's sequence numbers."""
    peer = attack.open(options=mss(536))
    data = forged(attack, peer)
    for off in range(-4, 5):
        peer.send(off - attack.header, data, "PA")
    attack.settle()
    peer.send(0, b"request", "PA")


def other_minute(attack: Attack) -> None:
    """Each minute has its own diagonal. The SYN-ACK of the last minute had cookie C, that of this
    minute has C'. At some sequence number ahead, the ack that carries C' is a valid cookie of the
    last minute. For a few of many ports this number is in the window. An acknowledgement in the
    server's name can make the window larger.
    """
    options = mss(1460) + window_scale(14) + timestamps(1)
    peers = [attack.peer() for _ in range(PORTS)]
    before = [_diagonal(attack, peer, options) for peer in peers]
    probe = attack.peer()
    minute = _diagonal(attack, probe, options)
    end = time.monotonic() + 100
    while _diagonal(attack, probe, options) == minute:
        require(time.monotonic() < end, "the minute does not end")
        time.sleep(0.2)
    tried = 0
    for peer, old in zip(peers, before, strict=True):
        place = (_diagonal(attack, peer, options, reset=False) - old) % 2**32
        place = _in_a_frame(place) if attack.framed else place - attack.header
        if 0 < place < 1 << 23:
            tried += 1
            peer.spoof(0, window=65535)
            if attack.framed:
                peer.send(place - BEFORE, b"f" * 2 * BEFORE, "PA")
            if tried % 2:
                peer.send(place)
                attack.settle()
                peer.send(place - 1)  # which a server that has taken the ACK answers
                attack.settle()
            peer.send(place, forged(attack, peer), "PA")
    attack.settle()
    require(tried, "no port had such a number in the window")


def _in_a_frame(there: int) -> int:
    """The client's number that becomes `there` in the server's numbers, or 0 if there is none.

    The number lies in a frame, BEFORE bytes after its start. All before the frame is one gap.
    """
    for gaps in range(1, 130):
        place = there - 8 * (gaps + 1)
        if (gaps - 1) * 65535 < place - BEFORE <= gaps * 65535:
            return place
    return 0


def _diagonal(attack: Attack, peer: Peer, options: bytes, reset: bool = True) -> int:
    """What the server adds to a SYN's number in this minute."""
    peer.syn(peer.isn + 1, options=options)
    attack.settle()
    assert peer.synack
    if reset:
        peer.send(flags="R")
    return (peer.synack.seq - peer.isn) % 2**32


SLOW = {"other-minute": other_minute}
"""Cases that take a minute."""


def _other_kind(between: Callable[[Attack], None], attack: Attack) -> None:
    """The server answers one SYN with a cookie and makes a socket for another one. After it has
    given up the socket, the connection's ack is the first SYN's cookie at some number ahead.

    A server's ISN without a cookie is a constant for these ports plus a clock (RFC 6528). The
    client can therefore choose its own ISN such that the number ahead is in the window.
    """
    options = mss(1460) + window_scale(7)
    peer = attack.peer()
    old = _diagonal(attack, peer, options)
    between(attack)
    with attack.trial.listener.sysctls(NEVER):
        for _ in range(TRIES):
            peer.isn += _diagonal(attack, peer, options) - old - attack.header - AHEAD
            place = (_diagonal(attack, peer, options, reset=False) - old) % 2**32 - attack.header
            if AHEAD <= place < FURTHEST:
                break
            peer.send(flags="R")
        peer.send(0, REQUEST, "PA")
        attack.settle()
        attack.accepted(peer).vanish()
    peer.spoof(0, ack=len(REQUEST), window=65535)
    peer.send(place, forged(attack, peer), "PA")
    attack.judge()
    attack.require_counted("cookies_spoiled")


def _forgotten(attack: Attack) -> None:
    """Deletes all conntrack entries, and waits until the injector has removed their flows.

    The injector visits its flows in turn, and removes one that it found without an entry twice.
    That is certain once it has removed another flow that was made after the first visit.
    """
    end = time.monotonic() + 20
    for _ in range(2):
        with syn_lost(attack):
            attack.peer().syn()
            attack.settle()
        attack.forget_conntrack()
        while attack.trial.counters()["flows"]:
            require(time.monotonic() < end, "the flows do not end")
            time.sleep(0.01)


OTHER_KINDS: dict[str, Function] = {
    "other-kind-reset": partial(_other_kind, lambda attack: None),
    "other-kind-forgotten": partial(_other_kind, _forgotten),
}
"""For injectors with `outlives_conntrack`. In a framed stream the number would be another one."""

CASES: dict[str, Function] = {
    function.__name__.replace("_", "-"): function
    for function in (
        diagonal_after_abort,
        diagonal_after_fin_wait,
        diagonal_after_loss,
        bare_ack_then_data,
        mss_slack_below_first,
        mss_slack_at_header,
    )
}
