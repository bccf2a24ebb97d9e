# SPDX-License-Identifier: MIT
"""What is to be told to the store: bytes by client, news of devices, and how far each counter came.

Nothing of it is counted twice or left out: an element is read before it is taken away, what got no
answer is told again as it was, and a new agent goes on from what the store was told last. Pure; one
lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..state.records import Report, new_id
from .elements import Element

NOBODY = ""
"""Owner of elements that belong to no client: the store forgets or learns their counters only."""


@dataclass(frozen=True)
class Batch:
    """For Store.report(), as often as it takes."""

    id: str
    reports: tuple[Report, ...]


@dataclass
class _Open:
    """A report that grows until it is taken."""

    voucher: str
    mac: str | None = None
    addresses: dict[str, bool] = field(default_factory=dict)
    """Whether the client has it; otherwise another device has."""
    added: int = 0
    counters: dict[str, int | None] = field(default_factory=dict)

    @property
    def news(self) -> bool:
        """Of the device: others wait for them."""
        return bool(self.mac or self.addresses)


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self._counted: dict[Element, int] = {}
        self._open: dict[str, _Open] = {}
        self._vouchers: dict[str, str] = {}
        self._batch: Batch | None = None
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
            entry.addresses.update(dict.fromkeys(addresses, True))

    def tell_left(self, client_id: str, address: str) -> None:
        """Another device has an address that was this client's."""
        with self._lock:
            self._entry(client_id).addresses[address] = False

    def batch(self, most: int) -> Batch | None:
        """What is to be reported, the same until it is told(); news first. None: nothing."""
        with self._lock:
            if self._batch is None and self._open:
                self._batch = Batch(new_id(), tuple(self._take(most)))
            return self._batch

    def told(self) -> None:
        """The store has taken the batch."""
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
