# SPDX-License-Identifier: MIT
"""NAT gives the source of a connection that has ended to another client.

The delay keeps the server's answer on its way until the other client has the source.
"""

from __future__ import annotations

from tests.kernel.guest.attacks.attack import Attack, attack
from tests.kernel.guest.attacks.peer import Peer

from .case import Trial
from .cases_rules import masquerade
from .judge import require
from .named import HEADERS, named

_VICTIM = {4: "10.61.1.67", 6: "fd61:1::67"}
"""An address that the attacker can send from. It need not receive what is sent there."""

_SIGNATURE = bytes((1, 1, 19, 18)) + bytes(16)
"""TCP-MD5: conntrack takes such a SYN, and the injector drops it."""


def _pair(attack: Attack) -> tuple[Peer, Peer]:
    """Two clients with one port and one original destination: the victim and the attacker."""
    thief = attack.peer()
    victim = Peer(attack.wire, attack.place, thief.source[1], thief.isn)
    victim.source = (_VICTIM[attack.place.version], thief.source[1])
    return victim, thief


def _end(victim: Peer) -> None:
    """Conntrack forgets a connection that has not been answered; the RST does not get farther."""
    victim.send(0, b"", "R", ttl=1)


def _use(attack: Attack, thief: Peer) -> None:
    attack.settle()
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n"):
        thief.send(0, data, "PA")
        attack.settle()


def _behind_a_dropped_syn(attack: Attack) -> None:
    victim, thief = _pair(attack)
    with masquerade(attack.trial):
        victim.syn()
        _end(victim)
        thief.syn(options=_SIGNATURE)
        _use(attack, thief)
    attack.require_counted("drop_no_syn", "drop_synack", "drop_early")


def _behind_its_own_syn(attack: Attack) -> None:
    victim, thief = _pair(attack)
    with masquerade(attack.trial):
        victim.syn()
        _end(victim)
        thief.syn()
        _use(attack, thief)
    accepted = [each for each in attack.server.accepted if each.peer[1] == thief.source[1]]
    require(accepted, "nothing accepted")
    require(accepted[-1].received, "no header has come")


@named("auth", "gateway", "gateway6", injectors=HEADERS, impairment="short-delay", limit=300)
async def masquerade_taken_over(trial: Trial) -> None:
    """The other client must not get the header that was made for the first one."""
    await attack(_behind_a_dropped_syn, signed=True)(trial)


@named("auth", "gateway", "gateway6", injectors=HEADERS, impairment="short-delay", limit=300)
async def masquerade_taken_over_with_a_syn(trial: Trial) -> None:
    """The other client's own SYN opens the connection: it gets its own header."""
    await attack(_behind_its_own_syn, signed=True)(trial)
