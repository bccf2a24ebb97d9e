# SPDX-License-Identifier: MIT
"""The interface to the state, which portals write and gateways follow.

Several processes and machines use one store at once. Every method is atomic, and returns and raises
the same in each implementation (tests/portal/test_store_*.py).

A grant lasts until its time or its data are used up, or until end(). The store ends it at that
moment or at the next call of a method, whichever is later. An agent must not wait for the store: it
gives each address in its packet filter the time that is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .records import Change, Ended, EndReason, Grant, Report, Session, Snapshot, Voucher

MOST_DESTINATIONS = 10_000
"""How many destinations a store tells apart on one day: a client that scans must not fill it."""


class StoreError(Exception):
    """The store cannot be reached or read. The message names its URL and what to do."""


class CursorLost(Exception):
    """The store does not know the changes after this cursor (any more). Take a snapshot()."""


class Store(Protocol):
    """See the module. Every method may raise StoreError."""

    # sessions

    def grant(self, grant: Grant) -> None:
        """Lets a client through. The session that has its address in that network ends
        ('replaced').
        """

    def end(self, grant_id: str, reason: EndReason) -> bool:
        """Ends a session. False when no session has this id (any more)."""

    def covering(self, network: str, address: str) -> Session | None:
        """The session of the client that has this address, by its grant or by a report."""

    def snapshot(self) -> Snapshot:
        """All sessions that have not ended, oldest first."""

    def changes(self, cursor: str, timeout: float) -> list[Change]:
        """The changes after `cursor`, in order. Waits up to `timeout` seconds for the first.

        An empty list means that `cursor` is still the newest. May raise CursorLost.
        """

    def ended(self, limit: int) -> list[Ended]:
        """The sessions that ended last, newest first."""

    # agents

    def report(self, gateway: str, batch: str, reports: Sequence[Report]) -> list[str]:
        """Takes what an agent has seen of its clients, in one step. `batch` is the id of the
        reports: when the gateway's last call had the same id, its answer was lost, and the reports
        are not counted again.

        Bytes add up over gateways, in the session and in its voucher. A session that reaches its
        limit ends ('data'); all sessions of a voucher end when the voucher reaches its limit.
        Addresses are the union of what all gateways see, the grant's own first. A report that
        changes MAC or addresses is a change ('updated'). Returns the ids without a session: the
        agent cuts these clients off, after it has read the changes until now. Their bytes count
        for the voucher as well.
        """

    def counters(self, gateway: str) -> dict[str, int]:
        """Report.counters of all reports of this gateway. A new agent continues from them."""

    def heartbeat(self, gateway: str) -> None:
        """Notes that this gateway's agent is alive."""

    def gateways(self) -> dict[str, float]:
        """The time of each gateway's last heartbeat."""

    # vouchers

    def add_vouchers(self, vouchers: Sequence[Voucher]) -> None:
        """Adds all or none. ValueError when the store has one of them already."""

    def vouchers(self) -> list[Voucher]:
        """All vouchers, oldest first."""

    def revoke(self, *, digest: str = "", label: str = "") -> int:
        """Revokes one voucher or all of a label, and ends their sessions ('revoked'). Returns how
        many vouchers.
        """

    def redeem(self, digest: str, device: str) -> Voucher | None:
        """Counts `device` on the voucher, and returns the voucher after that.

        None when it cannot be redeemed: it is unknown, revoked or expired before its first use, its
        lifetime or its data are used up, or as many other devices as it has uses have redeemed it.
        """

    # limits and figures

    def attempt(self, key: str, limit: int, window: float) -> bool:
        """Counts an attempt under `key`. False when there are more than `limit` within `window` s.

        The window begins with the first attempt, and later ones do not move it.
        """

    def count_destinations(self, counts: Mapping[str, int]) -> None:
        """Adds to today's (UTC) counts. Beyond MOST_DESTINATIONS different destinations a day,
        others are counted under ''.
        """

    def destinations(self, since: float, limit: int) -> list[tuple[str, int]]:
        """The most frequent destinations since the UTC day of `since`, the most frequent first."""

    def history(self, since: float) -> list[tuple[float, int]]:
        """(beginning of the hour, grants in it) from the hour of `since` on, without empty hours.

        These figures hold no client data.
        """

    def purge(self, sessions_before: float, destinations_before: float) -> int:
        """Deletes what is older than these times, and returns how many ended sessions.

        Before `sessions_before`: ended sessions, changes, vouchers that could not be redeemed any
        more, and gateways without a later heartbeat, with their counters. An agent that was away
        for longer has lost its cursor. Before `destinations_before`: counts of whole days.
        """

    def advice(self) -> list[str]:
        """A sentence for each setting by which the store itself may lose grants."""

    def close(self) -> None:
        """Closes files and connections."""
