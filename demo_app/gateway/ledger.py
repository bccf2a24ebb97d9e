"""What is to be told to the store: bytes by client, news of devices, and how far each counter came.

Nothing of it is counted twice or left out: an element is read before it is taken away, what could
not be reported is kept, and a new agent goes on from what the store was told last. Pure; one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..state.records import Report
from .elements import Element

NOBODY = ""
"""Owner of elements that belong to no client: the store forgets or learns their counters only."""


@dataclass
class _Open:
    """A report that grows until it is taken."""

    voucher: str
    mac: str | None = None
    addresses: dict[str, None] = field(default_factory=dict)
    added: int = 0
    counters: dict[str, int | None] = field(default_factory=dict)


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self._counted: dict[Element, int] = {}
        self._open: dict[str, _Open] = {}
        self._vouchers: dict[str, str] = {}
        self._lock = threading.Lock()

    def resume(self, counters: Mapping[str, int]) -> None:
        """Goes on from Store.counters(): before anything is counted."""
        with self._lock:
            for name, count in counters.items():
                set_name, _, key = name.partition(" ")
                self._counted[set_name, key] = count

    def enter(self, client_id: str, voucher: str) -> None:
        """Whose voucher the bytes of this client use up."""
        if voucher:
            with self._lock:
                self._vouchers[client_id] = voucher

    def leave(self, client_id: str) -> None:
        """The client has gone, and its elements have been read for the last time."""
        with self._lock:
            self._vouchers.pop(client_id, None)

    def count(self, element: Element, count: int, owner: str | None) -> None:
        """An element was read. Less than last time: it was put in anew, from zero."""
        with self._lock:
            before = self._counted.get(element, 0)
            if count == before:
                return
            self._counted[element] = count
            entry = self._entry(owner or NOBODY)
            entry.added += count - before if count > before else count
            entry.counters[" ".join(element)] = count

    def gone(self, element: Element, owner: str | None) -> None:
        """An element is no more: one of the same name begins at zero."""
        with self._lock:
            if self._counted.pop(element, None) is not None:
                self._entry(owner or NOBODY).counters[" ".join(element)] = None

    def changed(self, counts: Mapping[Element, int]) -> list[Element]:
        """Those of them that count() would have something to say of."""
        with self._lock:
            known = self._counted.get
            return [element for element, count in counts.items() if known(element, 0) != count]

    def counted(self) -> frozenset[Element]:
        """All elements that have counted something."""
        with self._lock:
            return frozenset(self._counted)

    def tell(self, client_id: str, mac: str | None, addresses: Iterable[str]) -> None:
        """News of a client's device."""
        with self._lock:
            entry = self._entry(client_id)
            entry.mac = mac
            entry.addresses.update(dict.fromkeys(addresses))

    def take(self, most: int) -> list[Report]:
        """What is to be reported; news first, because other gateways wait for them."""
        with self._lock:
            ids = [i for i, entry in self._open.items() if entry.mac][:most]
            ids += [i for i, entry in self._open.items() if not entry.mac][: most - len(ids)]
            taken = {client_id: self._open.pop(client_id) for client_id in ids}
        return [
            Report(i, e.mac, tuple(e.addresses), e.added, e.voucher, e.counters)
            for i, e in taken.items()
        ]

    def put_back(self, reports: Iterable[Report]) -> None:
        """The store did not take them."""
        with self._lock:
            for report in reports:
                entry = self._open.setdefault(report.grant_id, _Open(report.voucher))
                entry.mac = entry.mac or report.mac
                entry.addresses.update(dict.fromkeys(report.addresses))
                entry.added += report.added
                entry.counters = {**report.counters, **entry.counters}

    def _entry(self, client_id: str) -> _Open:
        entry = self._open.get(client_id)
        if entry is None:
            entry = self._open[client_id] = _Open(self._vouchers.get(client_id, ""))
        return entry
