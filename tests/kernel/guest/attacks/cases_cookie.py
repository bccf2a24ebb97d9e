# SPDX-License-Identifier: MIT
"""SYN cookies: a listener that keeps nothing takes whatever ACK names a cookie of its own.

Linux adds the client's ISN to the cookie: who was given cookie C for ISN X knows that C+d is the
one for X+d, for any d. And the two low bits that hold the MSS let seq be wrong by up to three. So
it is not one number that has to be guarded, but every pair (seq, ack) on that diagonal, as long as
the listener may be reached: whenever the server has forgotten the connection.

Here H + k bytes have come from the server, and the ack of just these in a segment at the client's
byte k is the cookie of an ISN that is k + H higher.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .cases_header import syn_lost
from .forgery import forged
from .peer import Peer
from .segment import mss, timestamps, window_scale
from .server import Accepted

ALWAYS = {"net.ipv4.tcp_syncookies": 2}

REQUEST = b"r" * 300

PORTS = 60

NEVER = {"net.ipv4.tcp_syncookies": 0}

AHEAD, FURTHEST = 1 << 16, 1 << 23
"""Where the place is to be, and as far as a window reaches; in between the clock takes half a
second."""

TRIES = 5
"""On a machine that is sometimes slower than that."""

REUSED = 100
"""`at` of the segment that is to open a second connection; k above."""

BEFORE = 20


def _replay(attack: Attack, peer: Peer) -> None:
    """A segment at REUSED whose ack makes it belong to the connection's cookie."""
    ack = REUSED + (0 if attack.framed else attack.header)
    if attack.framed:
        # One frame's header lies before it in the server's numbers.
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
    """The server resets. Its number is beyond what the client has acknowledged, so for conntrack
    the RST may be anybody's and the connection stays ESTABLISHED.
    """
    peer, accepted = _answered(attack)
    peer.send(len(REQUEST), b"more", "PA")
    attack.settle()
    peer.send(len(REQUEST))  # or the RST follows upon the server's own ACK, and is believed
    attack.settle()
    accepted.abort()
    attack.settle()
    _replay(attack, peer)


def diagonal_after_fin_wait(attack: Attack) -> None:
    """The server closes, the client acknowledges and stays: FIN_WAIT2 runs out without a word."""
    peer, accepted = _answered(attack)
    accepted.finish()
    attack.settle()
    peer.send(len(REQUEST), ack=401)
    attack.settle()
    accepted.vanish()
    _replay(attack, peer)


def diagonal_after_loss(attack: Attack) -> None:
    """The server forgets the connection, and its RST is lost or there is none."""
    peer, accepted = _answered(attack)
    accepted.vanish()
    _replay(attack, peer)


def bare_ack_then_data(attack: Attack) -> None:
    """The same, but the cookie comes with a bare ACK, and the bytes behind it."""
    peer, accepted = _answered(attack)
    accepted.vanish()
    ack = REUSED + (8 if attack.framed else attack.header)
    peer.send(REUSED, ack=ack)
    attack.settle()
    _replay(attack, peer)


def mss_slack_below_first(attack: Attack) -> None:
    """Three bytes before the first one: the MSS's bits make up for them."""
    peer = attack.open(options=mss(536))
    data = forged(attack, peer)
    for before in (3, 2, 1):
        peer.send(-before, data[:before], "PA")
        peer.send(-before, data[:before] + b"and the stream itself", "PA")
    attack.settle()
    peer.send(0, b"and the stream itself", "PA")


def mss_slack_at_header(attack: Attack) -> None:
    """The same around the header's place."""
    peer = attack.open(options=mss(536))
    data = forged(attack, peer)
    for off in range(-4, 5):
        peer.send(off - attack.header, data, "PA")
    attack.settle()
    peer.send(0, b"request", "PA")


def other_minute(attack: Attack) -> None:
    """Each minute has its own diagonal. A SYN of the last one was answered with C, one of this
    minute with C'; then the ack of C' makes a cookie of the last minute's at some place ahead,
    which is in the window for some of many ports: all the more when the window was opened wide by
    an acknowledgement in the server's name.
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
    require(tried, "no port had a place in the window")


def _in_a_frame(there: int) -> int:
    """The client's number that gets to be `there` in the server's when it is in the middle of a
    frame, BEFORE bytes behind its beginning, and all before that frame is one gap; or 0.
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
"""It takes a minute."""


def _other_kind(between: Callable[[Attack], None], attack: Attack) -> None:
    """Numbers that are no cookie's have a diagonal of their own as well: the server answers one SYN
    with a cookie, another without, and has its socket; then it gives that up, and the connection's
    ack is the first SYN's cookie at some place ahead.

    What a server without cookies answers is a constant for these ports and a clock (RFC 6528), so
    the client's number can be chosen to fit.
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
    """Conntrack has no entry any more, and who is forgotten with it is gone.

    Flows are looked at in turn, and go when they were found to be over twice: that is so when
    another one, made after the first look, has been found so once.
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
"""For injectors that remember what a port was told; to a framed stream the place is another one."""

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
