# SPDX-License-Identifier: MIT
"""`ctwsgi-portal agent`: makes this gateway's packet filter follow the store.

    store: snapshot, changes  ──► Clients ──► Enforcement ──► nft sets
    store: report             ◄── bytes, MACs, addresses ◄── nft counters, neighbour table

Four loops run in a thread each. `follow` waits for changes, and applies each batch at once.
`measure` reads counters and addresses of clients in slices, and repairs elements. `tell` reports
both to the store. `watch` loads the rules again when another program flushed them. When a loop
fails, the filter stays as it is: clients pass until their grants run out, and no other client gets
in.
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
"""Seconds that one call of changes() may wait. A stop is noticed after it."""
SLICE = 200
"""Reports in one call of report(), which takes the store some milliseconds."""
GATHER = 0.05
"""Seconds in which news are collected: each report makes every gateway change its filter."""
SWITCH = 0.001
"""Seconds after which a computing thread lets another one run, which may have a grant to apply."""


@dataclass(frozen=True)
class AgentSettings:
    """The part of the configuration that an agent needs."""

    name: str
    """The name of this gateway, which no other gateway has."""
    rules: Rules
    report_every: float = 10.0
    """Seconds. With very many clients the pause is longer: reading takes a fifth of the time."""
    check_every: float = 5.0
    """Seconds between checks of the rules. The kernel's announcements cause further checks."""


class Agent:
    """Each thread that uses the store calls `open_store` once."""

    def __init__(self, settings: AgentSettings, open_store: Callable[[], Store]) -> None:
        self._settings = settings
        self._open = open_store
        self._clients = Clients()
        self._ledger = Ledger()
        self._filter = Enforcement(settings.rules, self._ledger)
        self._neighbours = Recent(settings.rules.lan_interfaces)
        self._flows = Flows({*settings.rules.portal, *(h for h, _ in settings.rules.redirect_to)})
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._resumed = False
        self._lost: set[str] = set()
        """Ids that have no session any more, by the store's answers to reports. Their clients are
        cut off only after the changes until then have been applied: a grant among them may replace
        the ended one, and its client must not be cut off in between.
        """
        self._followed = threading.Event()
        self._news = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Returns when `stop` is set. NftError when the rules cannot be loaded at the start."""
        sys.setswitchinterval(SWITCH)
        self._filter.start()
        threads = [
            threading.Thread(target=self._keep, args=(loop, stop), name=loop.__name__, daemon=True)
            for loop in (self._follow, self._measure, self._tell, self._watch)
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(WAIT + RETRY)
        self._flows.close()

    def _keep(self, loop: Callable[[threading.Event], None], stop: threading.Event) -> None:
        """Runs a loop until the stop, and again after each error."""
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
                log.exception("an error of the agent itself; trying again")
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
                    lost.clear()  # further changes may be waiting
                with self._lock:
                    self._lost -= lost
                    self._end(lost)
                self._end_expired()
        finally:
            store.close()

    def _begin(self, store: Store) -> str:
        """Applies a snapshot, and cuts off clients that are not in it. Returns its cursor."""
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
        # Only the last change of each session counts.
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
                text = "session %s of the store is left out: wrong address or MAC"
                log.error(text, session.grant.id[:40])
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
        """Commits, and cuts the flows of clients whose addresses no other grant covers."""
        addresses: dict[str, str] = {}
        for client in clients:
            if client.mac and ("macs", client.mac) in self._filter:
                continue
            theirs = (*client.addresses, *(table.addresses(client.mac) if client.mac else ()))
            addresses.update({a: client.id for a in theirs if not self._covers(a)})
        self._forget(addresses)
        for client in clients:
            self._ledger.leave(client.id)

    def _end_expired(self) -> None:
        # The kernel has removed their elements. Their flows are still there, and so are the
        # elements that the packet path put into `fresh`.
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
        """Reads and repairs the sets. Returns the ids of clients whose accepted address another
        device has.
        """
        self._read(sets, neighbours.read(self._settings.rules.lan_interfaces))
        with self._lock:
            # During the reading new devices may have come, and may have been granted.
            table = self._neighbours.get()
            for client in seen(self._clients, table).values():
                self._ledger.tell(client.id, client.mac, client.addresses)
                self._filter.put(client)
            moved = self._release(table)
        self._news.set()
        return moved

    def _release(self, table: Neighbours) -> list[str]:
        """Commits without the addresses that other devices have now. Returns ids as _survey()."""
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
        """Commits, removes the packet path's elements of these addresses, and cuts their flows."""
        self._filter.commit({e: whose for a, whose in addresses.items() for e in _fresh(a)})
        for address in addresses:
            self._flows.cut(address)

    def _covers(self, address: str) -> bool:
        return (back(address), address) in self._filter

    def _owner(self, address: str) -> str | None:
        return self._filter.owner((back(address), address))

    def _read(self, sets: Sets, table: Neighbours) -> None:
        """Reads every element: counts its bytes, and repairs those that others changed."""

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
                # Pauses as long as a slice took, so that other threads get half of the time.
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
        """Sends all reports, a slice at a time. After StoreError the ledger keeps the rest."""
        with self._sending:
            while batch := self._ledger.batch(SLICE):
                lost = store.report(self._settings.name, batch.id, batch.reports)
                self._ledger.told()
                with self._lock:
                    self._lost.update(lost)

    # --- watch

    def _watch(self, stop: threading.Event) -> None:
        watch = Watch()
        try:
            while not stop.is_set():
                watch.wait(min(self._settings.check_every, WAIT))
                if not stop.is_set() and self._filter.ensure():
                    log.warning("the rules had been changed by others; they are back")
                # `follow` does this as well, but not while the store is away. It must not wait for
                # the lock: the rules may be flushed meanwhile.
                if self._lock.acquire(blocking=False):
                    try:
                        self._end_expired()
                    finally:
                        self._lock.release()
        finally:
            watch.close()


def _fresh(address: str) -> Iterator[Element]:
    """The elements that the packet path may have added for an address."""
    version = 6 if ":" in address else 4
    yield f"fresh{version}", address
    yield f"early{version}", address
