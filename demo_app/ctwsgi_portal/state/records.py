# SPDX-License-Identifier: MIT
"""The records of the state. Times are Unix seconds; addresses are text as inet_ntop() writes it.

A v4-mapped address is written as IPv4.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Method = Literal["click", "voucher", "password"]
"""How a client was accepted."""

Kind = Literal["granted", "updated", "ended"]

EndReason = Literal["time", "data", "logout", "kicked", "replaced", "moved", "revoked"]
"""Why a grant ended. time, data: used up. logout: the client said so. kicked: an operator said so.
replaced: by a newer grant of the same client. moved: an agent saw its address with another MAC.
revoked: its voucher was.
"""


@dataclass(frozen=True)
class Grant:
    """One client may pass, until `expires_at` or `limit_bytes`, whichever comes first."""

    id: str
    """Random, from new_id(): no two grants of any portal share one."""
    network: str
    """The name of one of the configured networks."""
    address: str
    """The address at which the client was accepted; Usage.addresses has the others as well."""
    mac: str | None
    """Lower case, with colons. None until an agent has reported it: a portal cannot see it."""
    granted_at: float
    expires_at: float
    limit_bytes: int | None
    """The bytes that it may use in both directions together; None: no limit."""
    method: Method
    who: str = ""
    """The voucher's label or the user's name, for the operator to read."""
    voucher: str = ""
    """The digest of the voucher whose data this grant uses; '' for other methods."""


@dataclass(frozen=True)
class Usage:
    """What agents have reported about a grant."""

    bytes: int = 0
    """Bytes of both directions, at all gateways."""
    addresses: tuple[str, ...] = ()
    """Every address of the client, the grant's own first."""


@dataclass(frozen=True)
class Session:
    """A grant that has not ended, and what it has used."""

    grant: Grant
    usage: Usage


@dataclass(frozen=True)
class Ended:
    """A session that is over. purge() deletes it after a time, because it is client data."""

    session: Session
    ended_at: float
    reason: EndReason


@dataclass(frozen=True)
class Change:
    """One step in the store's history.

    granted: let the session's addresses through until grant.expires_at. updated: the session's MAC
    or addresses have changed to these. ended: cut the session's addresses and MAC off at once.
    After 'replaced' comes the new grant of the same client, whose connections need not be cut in
    between.
    """

    cursor: str
    """changes() takes it, and gives what came after this change."""
    kind: Kind
    session: Session
    reason: EndReason | None = None
    """None unless `kind` is ended."""


@dataclass(frozen=True)
class Snapshot:
    """All sessions, and the cursor from which changes() goes on without a gap."""

    cursor: str
    sessions: tuple[Session, ...]


@dataclass(frozen=True)
class Report:
    """What an agent has seen of a client since its last report."""

    grant_id: str
    mac: str | None = None
    """The MAC of the client's device; None: no news."""
    addresses: tuple[str, ...] = ()
    """New addresses of the client. The store may know some of them already."""
    left: tuple[str, ...] = ()
    """Former addresses of the client, which another device has now. When another device has the
    grant's own address, the agent ends the session instead ('moved').
    """
    added: int = 0
    """Bytes since the last report."""
    voucher: str = ""
    """The grant's voucher. Bytes of a session that has ended meanwhile are charged to it."""
    counters: Mapping[str, int | None] = field(default_factory=dict)
    """The values of the gateway's counters at this report; None: the counter is gone."""


@dataclass(frozen=True)
class Voucher:
    """A code that its bearer may exchange for a grant. The code itself is not stored."""

    digest: str
    """The digest of the code, keyed with the portal's secret (state/codes.py)."""
    label: str
    """The operator's name for the batch. A voucher is revoked by label or by code."""
    lifetime: int
    """Seconds from the first redemption, after which every grant of this voucher ends."""
    limit_bytes: int | None
    """The bytes that all its devices together may use; None: no limit."""
    uses: int
    """How many devices may redeem it. A device that comes back does not count again."""
    expires_at: float
    """Unix seconds. The first redemption has to come earlier."""
    created_at: float = 0.0
    revoked: bool = False
    first_used_at: float | None = None
    devices: int = 0
    """How many devices have redeemed it."""
    used_bytes: int = 0


def new_id() -> str:
    """A grant's id: 128 bits, hexadecimal."""
    return secrets.token_hex(16)
