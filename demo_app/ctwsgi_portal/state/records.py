# SPDX-License-Identifier: MIT
"""What the state is made of. Times are Unix seconds, addresses inet_ntop text (v4-mapped: IPv4)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Method = Literal["click", "voucher", "password"]
"""How a client was accepted."""

Kind = Literal["granted", "updated", "ended"]

Reason = Literal["time", "data", "logout", "kicked", "replaced", "moved", "revoked"]
"""Why a grant ended: its time, its data, the client, an operator, a newer grant of the same
client, an agent that sees its address with another MAC, its voucher.
"""


@dataclass(frozen=True)
class Grant:
    """One client may pass, until `expires_at` or `limit_bytes`, whichever comes first."""

    id: str
    """Random, from new_id(): no two grants of any portal share one."""
    network: str
    """The name of one of the configured networks."""
    address: str
    """The one that the client was accepted with; its other ones are in Usage.addresses."""
    mac: str | None
    """Lower case, colons. None until an agent has seen it: a portal cannot."""
    granted_at: float
    expires_at: float
    limit_bytes: int | None
    """Both directions together. None: no limit."""
    method: Method
    who: str = ""
    """The voucher's label or the user's name, for the operator to read."""
    voucher: str = ""
    """The digest of the voucher, whose data this grant uses up; '' for other methods."""


@dataclass(frozen=True)
class Usage:
    """What the agents reported of a grant."""

    bytes: int = 0
    """Both directions, all gateways."""
    addresses: tuple[str, ...] = ()
    """Every address of the client, the grant's own first."""


@dataclass(frozen=True)
class Session:
    """A grant that stands, and what it has used."""

    grant: Grant
    usage: Usage


@dataclass(frozen=True)
class Ended:
    """A session that is over. It is client data: purge() forgets it."""

    session: Session
    ended_at: float
    reason: Reason


@dataclass(frozen=True)
class Change:
    """One step in the store's history, in the order in which it happened.

    granted: let the session's addresses through until grant.expires_at. updated: the MAC or the
    addresses are now these. ended: cut the session's addresses and MAC off at once; only 'replaced'
    is followed by the grant of the same client, whose connections need not be cut in between.
    """

    cursor: str
    """Ask for what came after with this."""
    kind: Kind
    session: Session
    reason: Reason | None = None
    """Of `ended` only."""


@dataclass(frozen=True)
class Snapshot:
    """All sessions, and the cursor from which changes() goes on without a gap."""

    cursor: str
    sessions: tuple[Session, ...]


@dataclass(frozen=True)
class Report:
    """What an agent saw of a client since its last report."""

    grant_id: str
    mac: str | None = None
    """None: nothing new."""
    addresses: tuple[str, ...] = ()
    """Those that are new; more does no harm."""
    left: tuple[str, ...] = ()
    """Those that another device has now. For the grant's own the session ends instead ('moved')."""
    added: int = 0
    """Bytes."""
    voucher: str = ""
    """The grant's, so that the bytes of a session which has ended meanwhile are charged to it."""
    counters: Mapping[str, int | None] = field(default_factory=dict)
    """How far the gateway's own counters had come with this report; None: that one has gone."""


@dataclass(frozen=True)
class Voucher:
    """A code that its bearer may exchange for a grant. The code itself is stored nowhere."""

    digest: str
    """Of the code, keyed with the portal's secret (state/codes.py)."""
    label: str
    """Which batch it belongs to, for the operator; revoking is done by label or by code."""
    lifetime: int
    """Seconds from the first redemption; every grant of this voucher ends with them."""
    limit_bytes: int | None
    """For all its devices together."""
    uses: int
    """How many devices may redeem it. A device that comes back does not count again."""
    expires_at: float
    """Not to be redeemed for the first time after this."""
    created_at: float = 0.0
    revoked: bool = False
    first_used_at: float | None = None
    devices: int = 0
    """How many have redeemed it."""
    used_bytes: int = 0


def new_id() -> str:
    """A grant's id: 128 bits, hexadecimal."""
    return secrets.token_hex(16)
