# SPDX-License-Identifier: MIT
"""Keeps the kernel's sets in step with the clients, and repairs what others change.

Every change is one transaction. Any thread may call any method: there is one lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from . import nft
from .clients import Client
from .elements import Element, ElementBatch, Elements
from .ledger import Ledger
from .ruleset import Rules
from .sets import Rows, Sets

_PART = 100
"""Elements that are read under one hold of the lock, which takes some milliseconds."""

log = logging.getLogger("ctwsgi.portal.gateway")


class Enforcement:
    """The portal's table of the packet filter. The ledger gets what its elements count."""

    def __init__(self, rules: Rules, ledger: Ledger) -> None:
        self._rules = rules
        self._ledger = ledger
        self._elements = Elements()
        self._sets = Sets()
        self._lock = threading.RLock()
        self._fingerprint: str | None = None
        self._changed: set[Element] = set()
        """Elements changed since known(). A reading may show their state before the change."""

    def start(self) -> None:
        """Loads the rules, and keeps the elements of an earlier agent."""
        with self._lock:
            self._load()

    def put(self, client: Client) -> None:
        """Notes a client to let through; commit() does it."""
        with self._lock:
            self._elements.put(client.id, client.elements(), client.expires_at)

    def drop(self, client: Client) -> None:
        """Notes a client to cut off; commit() does it."""
        with self._lock:
            self._elements.drop(client.id)

    def commit(self, stale: Mapping[Element, str] | None = None) -> None:
        """Applies what put() and drop() noted. `stale` are elements of FRESH and EARLY to remove,
        with the ids of the clients whose bytes they count.
        """
        stale = stale or {}
        with self._lock:
            batch = self._elements.pending(time.time())
            batch.remove += stale
            if batch:
                self._apply(batch, stale)
            self._elements.settled()

    def known(self) -> frozenset[Element]:
        """The applied elements. To be called before a reading for compare() and missing()."""
        with self._lock:
            self._changed.clear()
            return frozenset(self._elements.known())

    def compare(self, rows: Rows, owner: Callable[[str], str | None]) -> list[Element]:
        """Takes over the counters of these elements, and returns those that others changed.

        `owner` gives the client of an address in the EARLY sets. It holds the lock for a short time
        only, because a grant may be waiting.
        """
        with self._lock:
            rows = {e: row for e, row in rows.items() if e not in self._changed}
            for element in self._ledger.changed({e: row.bytes for e, row in rows.items()}):
                name, key = element
                whose = owner(key) if name in nft.EARLY else self._elements.owner(element)
                self._ledger.count(element, rows[element].bytes, whose)
            ends = {e: row.ends_at for e, row in rows.items() if e[0] in nft.SETS}
            batch = self._elements.difference(ends, ends, time.time())
        return [*batch.remove, *batch.renew]

    def missing(self, unseen: Iterable[Element]) -> list[Element]:
        """Asks for each element that a reading did not show. Returns those that are not there."""
        gone = []
        rest = iter(unseen)
        while part := list(islice(rest, _PART)):
            with self._lock:
                for element in part:
                    row = self._sets.one(element)
                    if row:
                        self._ledger.count(element, row.bytes, self._elements.owner(element))
                    else:
                        self._ledger.gone(element, self._elements.owner(element))
                        gone.append(element)
        return gone

    def repair(self, suspects: Iterable[Element]) -> int:
        """Reads these elements again and corrects those that are wrong. Returns their number."""
        with self._lock:
            suspects = [element for element in suspects if element[0] in nft.SETS]
            rows = {element: self._sets.one(element) for element in suspects}
            ends = {element: row.ends_at for element, row in rows.items() if row}
            batch = self._elements.difference(suspects, ends, time.time())
            if batch:
                self._apply(batch)
            return len(batch.remove) + len(batch.renew)

    def ensure(self) -> bool:
        """Loads rules and elements again when the rules were removed or changed; True then.

        The rules come first, and without the lock: until they are loaded, every client passes.
        """
        found = nft.fingerprint()
        if found == self._fingerprint:
            return False
        nft.load(self._rules, absent=found is None)
        with self._lock:
            self._rebuild()
        return True

    def owner(self, element: Element) -> str | None:
        """The client whose bytes an element counts."""
        with self._lock:
            return self._elements.owner(element)

    def __contains__(self, element: Element) -> bool:
        with self._lock:
            return element in self._elements

    def __len__(self) -> int:
        with self._lock:
            return len(self._elements)

    def _apply(self, batch: ElementBatch, owners: Mapping[Element, str] | None = None) -> None:
        try:
            self._change(batch, owners or {})
        except (nft.NftError, OSError) as e:
            log.warning("the packet filter refused a change, loading it again: %s", e)
            self._rebuild()

    def _rebuild(self) -> None:
        self._load()
        self._change(self._elements.pending(time.time()), {})

    def _change(self, batch: ElementBatch, owners: Mapping[Element, str]) -> None:
        """Reads elements for the last time before it removes them with their counters."""
        ends = {e: owners.get(e) or self._elements.owner(e) for e in (*batch.remove, *batch.renew)}
        self._changed.update(ends)
        for element, whose in ends.items():
            row = self._sets.one(element)
            if row:
                self._ledger.count(element, row.bytes, whose)
        nft.apply(batch)
        for element, whose in ends.items():
            self._ledger.gone(element, whose)

    def _load(self) -> None:
        """Loads the rules, and then reads what the sets hold."""
        nft.load(self._rules)
        self._fingerprint = nft.fingerprint()
        began = time.monotonic()
        found: Rows = {}
        for name in (*nft.SETS, *nft.EARLY):
            for rows in self._sets.read(name):
                found |= rows
        ours = {element: row.ends_at for element, row in found.items() if element[0] in nft.SETS}
        self._elements.assume(ours, time.monotonic() - began)
        gone = self._ledger.counted() - found.keys()
        self._changed |= gone
        for element in gone:
            self._ledger.gone(element, self._elements.owner(element))
