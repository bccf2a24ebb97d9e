# SPDX-License-Identifier: MIT
"""The interface to the state, which portals write and gateways follow.

Several processes and machines use one store at once. Every method is atomic, and what it returns
or raises is the same for each implementation: tests/portal/store_cases.py holds them all to it.

A grant stands until its time, its data, or end(). The store itself ends it at that moment or at
the next call of any method, whichever is later; an agent must not wait for that to cut a client
off, and gives each address in its packet filter the time that is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .records import Change, Ended, Grant, Reason, Report, Session, Snapshot, Voucher


class StoreError(Exception):
    """The store cannot be reached or read. The message names its URL and what to do."""


class CursorLost(Exception):
    """The changes after this cursor are no longer known, or never were. Take a snapshot()."""


class Store(Protocol):
    """See the module. Every method may raise StoreError."""

    # sessions

    def grant(self, grant: Grant) -> None:
        """Lets a client through. What covers its address in that network ends ('replaced')."""

    def end(self, grant_id: str, reason: Reason) -> bool:
        """Ends a session. False when there is none of this id (any more)."""

    def covering(self, network: str, address: str) -> Session | None:
        """The session of this address: that of its grant, or of one whose client has it too."""

    def snapshot(self) -> Snapshot:
        """All sessions that stand, oldest first."""

    def changes(self, cursor: str, timeout: float) -> list[Change]:
        """What came after `cursor`, in order; waits up to `timeout` seconds for the first.

        An empty list means that `cursor` is still the newest. CursorLost.
        """

    def ended(self, limit: int) -> list[Ended]:
        """The sessions that ended last, newest first."""

    # agents

    def report(self, gateway: str, batch: str, reports: Sequence[Report]) -> list[str]:
        """What an agent saw of its clients, all in one step, and only once: `batch` is its id. When
        the gateway's last one had the same, its answer was lost; nothing is done a second time.

        Bytes add up over gateways, in the session and its voucher; a session whose limit is reached
        ends ('data'), and so does every other of that voucher when it is the voucher's limit.
        Addresses are the union of what gateways see, the grant's own first. Each report that
        changes MAC or addresses is a change ('updated'). Returns the ids that have no session (any
        more): the agent cuts these clients off, once it has seen the changes until now. Their
        bytes count for the voucher all the same.
        """

    def counters(self, gateway: str) -> dict[str, int]:
        """Report.counters of all reports of this gateway: where a new agent goes on counting."""

    def heartbeat(self, gateway: str) -> None:
        """This gateway's agent is alive."""

    def gateways(self) -> dict[str, float]:
        """When each gateway's last heartbeat came."""

    # vouchers

    def add_vouchers(self, vouchers: Sequence[Voucher]) -> None:
        """All or none. ValueError when one is there already."""

    def vouchers(self) -> list[Voucher]:
        """All of them, oldest first."""

    def revoke(self, *, digest: str = "", label: str = "") -> int:
        """Revokes one voucher or all of a label, ends their sessions ('revoked'). How many."""

    def redeem(self, digest: str, device: str) -> Voucher | None:
        """Counts `device` on the voucher, as it then is. None when it cannot be redeemed:

        unknown, revoked, first redeemed longer ago than its lifetime, its data used up, not yet
        redeemed and expired, or taken by as many other devices as it has uses.
        """

    # limits and figures

    def attempt(self, key: str, limit: int, window: float) -> bool:
        """Counts an attempt under `key`; False when more than `limit` came within `window` s.

        The window begins with the first attempt and is fixed from then.
        """

    def count_destinations(self, counts: Mapping[str, int]) -> None:
        """Adds to today's (UTC) counts of destinations. There is a bound on how many are told
        apart per day; what is beyond it is counted under ''.
        """

    def destinations(self, since: float, limit: int) -> list[tuple[str, int]]:
        """Those most asked for on the UTC days from that of `since` on, most often first."""

    def history(self, since: float) -> list[tuple[float, int]]:
        """(beginning of the hour, grants in it) from the hour of `since` on; no empty hours.

        These figures hold no client data.
        """

    def purge(self, sessions_before: float, destinations_before: float) -> int:
        """Forgets sessions that ended before, changes from before, and vouchers that could not be
        redeemed any more then; how many sessions. An agent that was away for longer has lost its
        cursor. Gateways that were not heard of since go as well, with their counters, and counts of
        destinations of days that lie wholly before.
        """

    def advice(self) -> list[str]:
        """How the store itself is set up to lose grants: a sentence each, which names the store."""

    def close(self) -> None:
        """Lets go of files and connections."""
