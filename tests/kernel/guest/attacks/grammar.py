# SPDX-License-Identifier: MIT
"""An attacker's possible actions, as values. They are drawn in advance, so that they can be
replayed.

Sequence numbers are symbolic, such as "the header's place of the first SYN" or "the cookie for this
place". They become numbers when the action runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

SMALL = (0, 1, 2, 3, 4, 7, 8, 9, 20, 27, 28, 29, 52, 53, 62, 77, 78, 98, 100, 300)

SYN_DELTAS = (0, 0, 1, -1, 3, 28, -28, 100, -100, 10000, -10000, 66000, 1 << 24, 1 << 31)

FLAGS = ("A",) * 8 + ("PA",) * 8 + ("FA", "FPA", "R", "RA", "SA", "UA", "UPA", "", "S", "SF", "F")


@dataclass(frozen=True)
class Syn:
    """A SYN whose ISN is `delta` beyond the current one."""

    delta: int
    mss: int
    """0 for no option."""
    data: int = 0


@dataclass(frozen=True)
class Send:
    """A segment at `base` + `offset`."""

    base: str
    """"first": the stream's first byte; "header": the header's; "end": what follows upon all that
    was sent; of the current SYN, or with "old " before it of the first one."""
    offset: int
    ack: str
    """"none": nothing; "sent": all that the server has sent; "diagonal": what makes this place's
    cookie; "old": the first cookie's own."""
    ack_offset: int
    content: str
    """"forged", "empty", "byte", "text", "long"."""
    flags: str
    ttl: int = 64
    bad_checksum: bool = False


@dataclass(frozen=True)
class Spoof:
    """A segment in the server's name."""

    at: int
    ack: int
    size: int
    flags: str
    window: int


@dataclass(frozen=True)
class Application:
    """The server's application acts on its last connection."""

    what: str
    size: int = 0


@dataclass(frozen=True)
class Forget:
    """All conntrack entries time out."""


Action = Syn | Send | Spoof | Application | Forget


def draw(random: Random) -> list[Action]:
    """Draws a sequence. Most begin with a handshake, because others reach few states."""
    actions: list[Action] = [Syn(0, random.choice((0, 536, 1300, 1460, 1460)))]
    if random.random() < 0.6:
        actions.append(Send("first", 0, "none", 0, "empty", "A"))
        actions.append(Send("first", 0, "none", 0, random.choice(("text", "long")), "PA"))
    if random.random() < 0.5:
        actions.append(Application("send", random.choice((60, 400, 3000))))
    if random.random() < 0.3:
        actions.append(Application(random.choice(("vanish", "abort", "finish"))))
    actions += [_draw_one(random) for _ in range(random.randint(3, 14))]
    return actions


def _draw_one(random: Random) -> Action:
    kind = random.choices(("send", "syn", "spoof", "application", "forget"), (60, 12, 8, 18, 2))[0]
    if kind == "syn":
        data = random.choice((0, 0, 0, 5, 100))
        return Syn(random.choice(SYN_DELTAS), random.choice((0, 536, 1460)), data)
    if kind == "spoof":
        flags = random.choice(("A", "A", "PA", "SA", "FA", "R", "RA"))
        window = random.choice((0, 100, 65535))
        return Spoof(_small(random), _small(random), random.choice(SMALL), flags, window)
    if kind == "application":
        what = random.choice(("send", "send", "finish", "close", "abort", "vanish", "vanish"))
        return Application(what, random.choice(SMALL[1:]))
    if kind == "forget":
        return Forget()
    base = random.choice(("first", "header", "end"))
    return Send(
        ("old " if random.random() < 0.2 else "") + base,
        random.choice((0, 0, _small(random))),
        random.choice(("none", "none", "sent", "diagonal", "diagonal", "old")),
        random.choice((0, 0, 0, 1, 8, _small(random))),
        random.choice(("forged", "forged", "forged", "empty", "byte", "text", "long")),
        random.choice(FLAGS),
        1 if random.random() < 0.05 else 64,
        random.random() < 0.02,
    )


def _small(random: Random) -> int:
    return random.choice(SMALL) * random.choice((1, 1, -1))
