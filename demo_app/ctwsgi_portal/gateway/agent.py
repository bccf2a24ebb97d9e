# SPDX-License-Identifier: MIT
"""`ctwsgi-portal agent`: makes this gateway's packet filter follow the store.

    store: snapshot, changes  ──► Clients ──► Enforcement ──► nft sets
    store: report             ◄── bytes, MACs, addresses ◄── nft counters, neighbour table

Four loops, each in a thread. `follow` waits for changes and applies each batch at once; it waits
for nothing else. `measure` reads what clients used and which addresses they have, in slices, and
repairs elements, `tell` reports that to the store, `guard` puts the rules back when somebody
flushed them. Only `follow` and `tell` need the store. Whatever fails, the filter stays as it is:
clients keep what they were granted, for as long as it was granted, and nobody else gets in.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..state import CursorLost, Store, StoreError
from ..state.records import Change, Session
from . import neighbours, nft
from .clients import Client, Clients, back, look_up, seen, taken_over, usable
from .elements import Element
from .enforcement import Enforcement
from .flows import Flows
from .ledger import Ledger
from .neighbours import Neighbours, Recent
from .ruleset import Rules
from .sets import Sets
from .watch import Watch

log = logging.getLogger("ctwsgi.portal.gateway")

RETRY = 1.0
"""Seconds between attempts to reach a store that is away."""
WAIT = 1.0
"""Seconds that one question for changes may wait: how late a stop may be noticed."""
SLICE = 200
"""Reports that the store is given at once: some milliseconds of it."""
GATHER = 0.05
"""Seconds in which news come together: each report makes every gateway change its filter."""
SWITCH = 0.001
"""Seconds after which a thread that computes makes way for one that has a grant to apply."""


@dataclass(frozen=True)
class Settings:
    """What an agent is told."""

    name: str
    """The gateway's, unlike all other gateways'."""
    rules: Rules
    report_every: float = 10.0
    """Seconds. With very many clients it is slower: never more than a fifth of the time."""
    check_every: float = 5.0
    """Seconds between looks at the rules, beside the kernel's own announcements."""


class Agent:
    """`open_store` is called once in each thread that talks to the store."""

    def __init__(self, settings: Settings, open_store: Callable[[], Store]) -> None:
        self._settings = settings
        self._open = open_store
        self._clients = Clients()
        self._ledger = Ledger()
        self._filter = Enforcement(settings.rules, self._ledger)
        self._neighbours = Recent(settings.rules.inside)
        self._flows = Flows({*settings.rules.portal, *(h for h, _ in settings.rules.redirect_to)})
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._resumed = False
        self._lost: set[str] = set()
        """Ids of which the store said that there is no session. The changes say so too, and also
        which grant replaced it: whoever only renews one must not be cut off in between.
        """
        self._followed = threading.Event()
        self._news = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. NftError when the rules cannot be loaded at all."""
        sys.setswitchinterval(SWITCH)
        self._filter.start()
        threads = [
            threading.Thread(target=self._keep, args=(loop, stop), name=loop.__name__, daemon=True)
            for loop in (self._follow, self._measure, self._tell, self._guard)
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(WAIT + RETRY)
        self._flows.close()

    def _keep(self, loop: Callable[[threading.Event], None], stop: threading.Event) -> None:
        """Runs a loop until the stop, whatever befalls it."""
        complained = ""
        while not stop.is_set():
            try:
                loop(stop)
                complained = ""
            except (StoreError, nft.NftError, OSError) as e:
                if str(e) != complained:
                    log.warning("%s; trying again every %g s", e, RETRY)
                complained = str(e)
            except Exception:
                log.exception("a mistake in the agent; trying again")
            stop.wait(RETRY)

    # --- follow

    def _follow(self, stop: threading.Event) -> None:
        store = self._open()
        try:
            cursor = self._begin(store)
            for text in store.advice():
                log.warning("%s", text)
            while not stop.is_set():
                with self._lock:
                    lost = set(self._lost)
                try:
                    changes = store.changes(cursor, 0 if lost else self._patience())
                except CursorLost:
                    cursor = self._begin(store)
                    continue
                if changes:
                    self._take(changes)
                    cursor = changes[-1].cursor
                    lost.clear()  # there may be more
                with self._lock:
                    self._lost -= lost
                    self._end(lost)
                self._end_those_run_out()
        finally:
            store.close()

    def _begin(self, store: Store) -> str:
        """From a snapshot: what is not in it is cut off."""
        if not self._resumed:
            self._ledger.resume(store.counters(self._settings.name))
            self._resumed = True
        snapshot = store.snapshot()
        with self._lock:
            gone = self._clients.ids() - {s.grant.id for s in snapshot.sessions}
            self._apply(snapshot.sessions, gone)
        log.info("%d sessions", len(snapshot.sessions))
        self._followed.set()
        return snapshot.cursor

    def _patience(self) -> float:
        ends = self._clients.next_end()
        return WAIT if ends is None else min(WAIT, max(0.05, ends - time.time()))

    def _take(self, changes: list[Change]) -> None:
        # The last word on each session; a filter that is briefly wrong in between helps nobody.
        last = {change.session.grant.id: change for change in changes}
        let = [c.session for c in last.values() if c.kind != "ended"]
        with self._lock:
            self._apply(let, {i for i, c in last.items() if c.kind == "ended"})

    def _apply(self, sessions: Sequence[Session], gone: set[str]) -> None:
        table = self._neighbours.get()
        now = time.time()
        dropped = [c for c in map(self._drop, gone) if c]
        for session in sessions:
            if session.grant.expires_at <= now:
                continue
            if not usable(session):
                log.error("session %s of the store is left out: no address", session.grant.id[:40])
                continue
            client = self._clients.put(session)
            self._ledger.enter(client.id, client.voucher)
            if look_up(client, self._clients, table):
                self._ledger.tell(client.id, client.mac, client.addresses)
            self._filter.put(client)
        self._cut(dropped, table)
        self._news.set()

    def _drop(self, client_id: str) -> Client | None:
        client = self._clients.pop(client_id)
        if client:
            self._filter.drop(client)
        return client

    def _cut(self, clients: list[Client], table: Neighbours) -> None:
        """Commits; those whom nobody else's grant covers lose their flows too."""
        addresses: dict[str, str] = {}
        for client in clients:
            if client.mac and ("macs", client.mac) in self._filter:
                continue
            theirs = (*client.addresses, *(table.addresses(client.mac) if client.mac else ()))
            addresses.update({a: client.id for a in theirs if not self._covers(a)})
        self._forget(addresses)
        for client in clients:
            self._ledger.leave(client.id)

    def _end_those_run_out(self) -> None:
        # The kernel has dropped their elements by itself; their flows, and what the packet path put
        # into `fresh`, are still there.
        with self._lock:
            self._end(self._clients.run_out(time.time()))

    def _end(self, ids: Iterable[str]) -> None:
        ended = [c for c in map(self._drop, ids) if c]
        if ended:
            self._cut(ended, self._neighbours.get())
            self._news.set()

    # --- measure

    def _measure(self, stop: threading.Event) -> None:
        store, sets = self._open(), Sets()
        try:
            pause = self._settings.report_every
            while not stop.wait(pause):
                began = time.monotonic()
                self._look(store, sets)
                pause = max(self._settings.report_every, 4 * (time.monotonic() - began))
            self._look(store, sets)
            self._send(store)
        finally:
            store.close()
            sets.close()

    def _look(self, store: Store, sets: Sets) -> None:
        moved = self._survey(sets) if self._followed.is_set() else []
        store.heartbeat(self._settings.name)
        for client_id in moved:
            store.end(client_id, "moved")

    def _survey(self, sets: Sets) -> list[str]:
        """Reads and repairs. Ids of those whose accepted address another device has."""
        self._read(sets, neighbours.read(self._settings.rules.inside))
        with self._lock:
            # Reading took its time, in which devices came and were granted.
            table = self._neighbours.get()
            for client in seen(self._clients, table).values():
                self._ledger.tell(client.id, client.mac, client.addresses)
                self._filter.put(client)
            moved = self._release(table)
        self._news.set()
        return moved

    def _release(self, table: Neighbours) -> list[str]:
        """Commits, without the addresses that other devices have now. As _survey()."""
        moved, left = [], {}
        for client, address in list(taken_over(self._clients, table, self._owner)):
            if address == client.address:
                moved.append(client.id)
                continue
            client.addresses.remove(address)
            self._ledger.tell_left(client.id, address)
            self._filter.put(client)
            left[address] = client.id
        self._forget({a: whose for a, whose in left.items() if not self._covers(a)})
        return moved

    def _forget(self, addresses: Mapping[str, str]) -> None:
        """Commits, and forgets what packet path and conntrack know of these clients' addresses."""
        self._filter.commit({e: whose for a, whose in addresses.items() for e in _fresh(a)})
        for address in addresses:
            self._flows.cut(address)

    def _covers(self, address: str) -> bool:
        return (back(address), address) in self._filter

    def _owner(self, address: str) -> str | None:
        return self._filter.owner((back(address), address))

    def _read(self, sets: Sets, table: Neighbours) -> None:
        """Every element: what it counted, and whether it is as it should be."""

        def owner(address: str) -> str | None:
            return self._filter.owner(("macs", table.mac(address) or ""))

        expected = self._filter.known() | self._ledger.counted()
        found: set[Element] = set()
        suspects: list[Element] = []
        for name in (*nft.SETS, *nft.EARLY):
            began = time.monotonic()
            for rows in sets.read(name):
                suspects += self._filter.compare(rows, owner)
                found.update(rows)
                # A slice is done. Half of the processor is for others.
                time.sleep(min(SWITCH * 10, time.monotonic() - began))
                began = time.monotonic()
        suspects += self._filter.missing(expected - found)
        repaired = self._filter.repair(suspects) if suspects else 0
        if repaired:
            log.warning("%d elements of our sets had been changed by others", repaired)

    # --- tell

    def _tell(self, stop: threading.Event) -> None:
        store = self._open()
        try:
            while not stop.is_set():
                self._news.clear()
                self._send(store)
                if self._news.wait(WAIT):
                    stop.wait(GATHER)
        finally:
            store.close()

    def _send(self, store: Store) -> None:
        """All that is to be reported, a slice at a time. StoreError: what is left stays."""
        with self._sending:
            while batch := self._ledger.batch(SLICE):
                lost = store.report(self._settings.name, batch.id, batch.reports)
                self._ledger.told()
                with self._lock:
                    self._lost.update(lost)

    # --- guard

    def _guard(self, stop: threading.Event) -> None:
        watch = Watch()
        try:
            while not stop.is_set():
                watch.wait(min(self._settings.check_every, WAIT))
                if not stop.is_set() and self._filter.ensure():
                    log.warning("the rules had been changed by others; they are back")
                # `follow` does it in time, but not without the store. No waiting: rules may go.
                if self._lock.acquire(blocking=False):
                    try:
                        self._end_those_run_out()
                    finally:
                        self._lock.release()
        finally:
            watch.close()


def _fresh(address: str) -> Iterator[Element]:
    """What the packet path may have put in."""
    version = 6 if ":" in address else 4
    yield f"fresh{version}", address
    yield f"early{version}", address
