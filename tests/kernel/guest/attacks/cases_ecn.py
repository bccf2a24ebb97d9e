# SPDX-License-Identifier: MIT
"""An honest client with Accurate ECN (RFC 9768): three flags of each segment are a counter of
congestion marks, and in the handshake's last ACK they tell how the SYN-ACK has arrived. If zeros
arrive, or the counter jumps, the server gives up ECN or believes in congestion that was none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kernel.guest.judge import require

from .attack import Attack, Function
from .peer import Peer
from .segment import Segment
from .tap import Tap

SIGNATURE = b"\r\n\r\n"
"""How a header begins."""

COUNTERS = {f"ACE-{counter}": counter for counter in range(8)}

NO_COOKIES = {"net.ipv4.tcp_syncookies": 0}


def _counting(counter: int, flags: str = "A") -> dict[str, Any]:
    """The fields of a segment with that counter."""
    return {
        "flags": flags + "C" * (counter >> 1 & 1) + "E" * (counter & 1),
        "accurate": bool(counter & 4),
    }


def _counter(segment: Segment) -> int:
    return segment.accurate << 2 | ("C" in segment.flags) << 1 | ("E" in segment.flags)


def _require_counter(attack: Attack, tap: Tap, peer: Peer, counter: int, headers: int) -> None:
    segments = tap.arrived(peer)
    found = sum(segment.data.startswith(SIGNATURE) for segment in segments)
    require(found >= headers or attack.framed, f"{found} of {headers} headers")
    told = {_counter(segment) for segment in segments}
    require(told == {counter}, f"the server is told {told}")


def handshake(attack: Attack, counter: int) -> None:
    """The handshake's last ACK, which becomes the header."""
    with Tap(attack.trial.listener, attack.place.version) as tap:
        peer = attack.open()
        peer.send(**_counting(counter))
        attack.settle()
        _require_counter(attack, tap, peer, counter, 1)


def first_data(attack: Attack, counter: int) -> None:
    """The client's first segment has data, and the header is sent in front of it."""
    with Tap(attack.trial.listener, attack.place.version) as tap:
        peer = attack.open()
        peer.send(0, b"the request", **_counting(counter, "PA"))
        attack.settle()
        _require_counter(attack, tap, peer, counter, 1)


def header_lost(attack: Attack, counter: int) -> None:
    """The header is lost, and the injector sends it again by itself."""
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
        with listener.sysctls(NO_COOKIES), Tap(attack.trial.listener, attack.place.version) as tap:
            peer = attack.open()
            peer.send(**_counting(counter))
            peer.send(100, b"behind a gap", **_counting(counter, "PA"))
            attack.settle()
            _require_counter(attack, tap, peer, counter, 2)
    finally:
        listener.nft("delete table inet lost")


def _elsewhere(function: Callable[..., None]) -> Function:
    """For a server on another host, whose wire can be watched."""

    def each(attack: Attack) -> None:
        if not attack.place.local:
            attack.each(function, COUNTERS)

    return each


CASES: dict[str, Function] = {
    f"honest-accurate-ecn-{function.__name__.replace('_', '-')}": _elsewhere(function)
    for function in (handshake, first_data, header_lost)
}
