# SPDX-License-Identifier: MIT
"""Collects what the agent reports: bytes by client, news of devices, and the counters' values.

Every byte is reported once: the agent reads an element before it removes it, sends a batch without
an answer again unchanged, and continues from the counters that the store was told last. Nothing
here does I/O. There is one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..state.records import Report, new_id
from .elements import Element

NOBODY = ""
"""The owner of elements without a client: the store gets only the values of their counters."""


@dataclass(frozen=True)
class ReportBatch:
    """Reports for one call of Store.report(), which is repeated until it is answered."""

    id: str
    reports: tuple[Report, ...]


@dataclass
class _Open:
    """A report that is still being collected."""

    voucher: str
    mac: str | None = None
    addresses: dict[str, bool] = field(default_factory=dict)
    """True when the client has the address, False when another device has it."""
    added: int = 0
    counters: dict[str, int | None] = field(default_factory=dict)

    @property
    def news(self) -> bool:
        """Whether it has news of the device. Other gateways wait for them."""
        return bool(self.mac or self.addresses)


class Ledger:
    def __init__(self) -> None:
        self._counted: dict[Element, int] = {}
        self._open: dict[str, _Open] = {}
        self._vouchers: dict[str, str] = {}
        self._batch: ReportBatch | None = None
        self._lock = threading.Lock()

    def resume(self, counters: Mapping[str, int]) -> None:
        """Continues from Store.counters(). To be called before anything is counted."""
        with self._lock:
            for name, count in counters.items():
                set_name, _, key = name.partition(" ")
                self._counted[set_name, key] = count

    def enter(self, client_id: str, voucher: str) -> None:
        """Notes the voucher that the bytes of this client are charged to."""
        if voucher:
            with self._lock:
                self._vouchers[client_id] = voucher

    def leave(self, client_id: str) -> None:
        """Forgets the client's voucher, after its elements were read for the last time."""
        with self._lock:
            self._vouchers.pop(client_id, None)

    def count(self, element: Element, count: int, owner: str | None) -> None:
        """Takes over an element's counter. It began at 0 again when it is less than before."""
        with self._lock:
            before = self._counted.get(element, 0)
            if count == before:
                return
            self._counted[element] = count
            entry = self._entry(owner or NOBODY)
            entry.added += count - before if count > before else count
            entry.counters[" ".join(element)] = count

    def gone(self, element: Element, owner: str | None) -> None:
        """Notes that an element is removed. Another one with its name begins at 0."""
        with self._lock:
            if self._counted.pop(element, None) is not None:
                self._entry(owner or NOBODY).counters[" ".join(element)] = None

    def changed(self, counts: Mapping[Element, int]) -> list[Element]:
        """The elements whose counters have changed since the last count()."""
        with self._lock:
            known = self._counted.get
            return [element for element, count in counts.items() if known(element, 0) != count]

    def counted(self) -> frozenset[Element]:
        """All elements whose counters are above 0."""
        with self._lock:
            return frozenset(self._counted)

    def tell(self, client_id: str, mac: str | None, addresses: Iterable[str]) -> None:
        """Notes the MAC and addresses of a client's device."""
        with self._lock:
            entry = self._entry(client_id)
            entry.mac = mac
            entry.addresses.update(dict.fromkeys(addresses, True))

    def tell_left(self, client_id: str, address: str) -> None:
        """Notes that another device has an address of this client."""
        with self._lock:
            self._entry(client_id).addresses[address] = False

    def batch(self, most: int) -> ReportBatch | None:
        """Up to `most` reports, news first; the same batch until told(). None: no reports."""
        with self._lock:
            if self._batch is None and self._open:
                self._batch = ReportBatch(new_id(), tuple(self._take(most)))
            return self._batch

    def told(self) -> None:
        """The store has answered to the batch."""
        with self._lock:
            self._batch = None

    def _take(self, most: int) -> Iterator[Report]:
        news = [i for i, entry in self._open.items() if entry.news][:most]
        rest = [i for i, entry in self._open.items() if not entry.news][: most - len(news)]
        for client_id in (*news, *rest):
            entry = self._open.pop(client_id)
            yield Report(
                client_id,
                entry.mac,
                tuple(a for a, theirs in entry.addresses.items() if theirs),
                tuple(a for a, theirs in entry.addresses.items() if not theirs),
                entry.added,
                entry.voucher,
                entry.counters,
            )

    def _entry(self, client_id: str) -> _Open:
        entry = self._open.get(client_id)
        if entry is None:
            entry = self._open[client_id] = _Open(self._vouchers.get(client_id, ""))
        return entry
