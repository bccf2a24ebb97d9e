# SPDX-License-Identifier: MIT
"""The kernel's sets follow the clients: every change is one transaction, and losses are repaired.

One lock; all methods may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from . import nft
from .clients import Client
from .elements import Batch, Element, Elements
from .ledger import Ledger
from .ruleset import Rules
from .sets import Rows, Sets

_PART = 100
"""Elements that are asked for in one go: some milliseconds."""

log = logging.getLogger("ctwsgi.portal.gateway")


class Enforcement:
    """Owns our table of the packet filter; what its elements counted goes into the ledger."""

    def __init__(self, rules: Rules, ledger: Ledger) -> None:
        self._rules = rules
        self._ledger = ledger
        self._elements = Elements()
        self._sets = Sets()
        self._lock = threading.RLock()
        self._fingerprint: str | None = None
        self._changed: set[Element] = set()
        """Since known(): what a reading says of these may be from before."""

    def start(self) -> None:
        """Loads the rules; clients of an earlier agent stay."""
        with self._lock:
            self._load()

    def put(self, client: Client) -> None:
        """To be let through; commit() does it."""
        with self._lock:
            self._elements.put(client.id, client.elements(), client.expires_at)

    def drop(self, client: Client) -> None:
        """To be cut off; commit() does it."""
        with self._lock:
            self._elements.drop(client.id)

    def commit(self, stale: Mapping[Element, str] | None = None) -> None:
        """What was put and dropped becomes true; `stale` elements of FRESH and EARLY go too, whose
        bytes belong to the clients of these ids.
        """
        stale = stale or {}
        with self._lock:
            batch = self._elements.pending(time.time())
            batch.remove += stale
            if batch:
                self._apply(batch, stale)
            self._elements.settled()

    def known(self) -> frozenset[Element]:
        """To be taken before a reading that is given to compare() and missing()."""
        with self._lock:
            self._changed.clear()
            return frozenset(self._elements.known())

    def compare(self, rows: Rows, owner: Callable[[str], str | None]) -> list[Element]:
        """Counts what these elements counted, and gives those that somebody else changed.

        `owner` says whose an address in the EARLY sets is. Short: a grant may be waiting.
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
        """Of elements that a reading did not show, those that are really not there."""
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
        """Puts right those that really are not as they should be: their number."""
        with self._lock:
            suspects = [element for element in suspects if element[0] in nft.SETS]
            rows = {element: self._sets.one(element) for element in suspects}
            ends = {element: row.ends_at for element, row in rows.items() if row}
            batch = self._elements.difference(suspects, ends, time.time())
            if batch:
                self._apply(batch)
            return len(batch.remove) + len(batch.renew)

    def ensure(self) -> bool:
        """True when the rules had been taken away or changed, and everything was built anew.

        The rules come first, without waiting for whoever is changing elements: they let nobody
        through, and until they stand everybody gets through.
        """
        found = nft.fingerprint()
        if found == self._fingerprint:
            return False
        nft.load(self._rules, absent=found is None)
        with self._lock:
            self._rebuild()
        return True

    def owner(self, element: Element) -> str | None:
        """Whose bytes an element counts."""
        with self._lock:
            return self._elements.owner(element)

    def __contains__(self, element: Element) -> bool:
        with self._lock:
            return element in self._elements

    def __len__(self) -> int:
        with self._lock:
            return len(self._elements)

    def _apply(self, batch: Batch, owners: Mapping[Element, str] | None = None) -> None:
        try:
            self._change(batch, owners or {})
        except (nft.NftError, OSError) as e:
            log.warning("the packet filter refused a change, building it anew: %s", e)
            self._rebuild()

    def _rebuild(self) -> None:
        self._load()
        self._change(self._elements.pending(time.time()), {})

    def _change(self, batch: Batch, owners: Mapping[Element, str]) -> None:
        """What an element counted goes with it: it is read for the last time."""
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
        """The rules, which let nobody through; then what stands in the sets is noted."""
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
