# SPDX-License-Identifier: MIT
"""The elements that the sets of ruleset.nft should hold, and the changes that this needs.

Nothing here does I/O. An element may have several owners (two grants of one device). It stays until
the last owner has dropped it, and its timeout is the latest of theirs. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

Element = tuple[str, str]
"""The set's name, and an address (inet_ntop text) or a MAC address (lower case)."""

SLACK = 5.0
"""Seconds by which a timeout in the kernel may differ: nft takes whole seconds, and needs time."""


@dataclass
class ElementBatch:
    """The changes of one transaction. An element of `renew` is replaced, with a new timeout."""

    remove: list[Element] = field(default_factory=list)
    add: dict[Element, float] = field(default_factory=dict)
    renew: dict[Element, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.remove or self.add or self.renew)


class Elements:
    """put() and drop() note what is wanted; pending() returns the changes for it."""

    def __init__(self) -> None:
        self._wanted: dict[Element, dict[str, float]] = {}
        self._of: dict[str, frozenset[Element]] = {}
        self._applied: dict[Element, float] = {}
        self._touched: set[Element] = set()
        self._former: dict[Element, str] = {}
        self._slack = 0.0

    def put(self, owner: str, elements: Iterable[Element], expires_at: float) -> None:
        """Sets the elements of an owner, in place of earlier ones."""
        now = frozenset(elements)
        for element in self._of.get(owner, frozenset()) - now:
            self._let_go(owner, element)
        for element in now:
            self._wanted.setdefault(element, {})[owner] = expires_at
            self._touched.add(element)
        self._of[owner] = now

    def drop(self, owner: str) -> None:
        """Removes an owner."""
        for element in self._of.pop(owner, frozenset()):
            self._let_go(owner, element)

    def owner(self, element: Element) -> str | None:
        """The owner whose bytes the element counts: until settled() the last one that dropped it,
        otherwise the one that ends last.
        """
        former, owners = self._former.get(element), self._wanted.get(element)
        return former or (max(owners, key=owners.__getitem__) if owners else None)

    def settled(self) -> None:
        """Dropped elements have been read, and count for their present owners from now on."""
        self._former.clear()

    def __contains__(self, element: Element) -> bool:
        return element in self._wanted

    def __len__(self) -> int:
        return len(self._wanted)

    def pending(self, now: float) -> ElementBatch:
        """The changes since the last call. The caller applies them, or calls assume()."""
        batch = ElementBatch()
        for element in self._touched:
            expires_at = self._expiry(element)
            applied = self._applied.get(element)
            if expires_at is None or expires_at <= now:
                if applied is not None:
                    batch.remove.append(element)
                    del self._applied[element]
                continue
            if applied is None:
                batch.add[element] = expires_at
            elif abs(applied - expires_at) > self._slack:
                batch.renew[element] = expires_at
            self._applied[element] = expires_at
        self._touched.clear()
        # The timeouts of what was applied are known exactly.
        self._slack = 0.0
        return batch

    def known(self) -> Collection[Element]:
        """A copy of the elements that have been applied."""
        return frozenset(self._applied)

    def difference(
        self, among: Iterable[Element], actual: Mapping[Element, float], now: float
    ) -> ElementBatch:
        """The changes that make these elements in the kernel the wanted ones.

        `actual` has the ends of those that the kernel has.
        """
        batch = ElementBatch()
        for element in among:
            expires_at, ends_at = self._expiry(element), actual.get(element)
            if expires_at is None:
                if ends_at is not None:
                    batch.remove.append(element)
            elif expires_at > now and (ends_at is None or abs(ends_at - expires_at) > SLACK):
                batch.renew[element] = expires_at
        return batch

    def assume(self, actual: Mapping[Element, float], took: float) -> None:
        """The kernel has these elements; reading them `took` seconds. pending() adds the rest."""
        self._applied = dict(actual)
        self._touched = {*actual, *self._wanted}
        self._slack = SLACK + took

    def _let_go(self, owner: str, element: Element) -> None:
        owners = self._wanted.get(element, {})
        owners.pop(owner, None)
        if not owners:
            self._former[element] = owner
            self._wanted.pop(element, None)
        self._touched.add(element)

    def _expiry(self, element: Element) -> float | None:
        owners = self._wanted.get(element)
        return max(owners.values()) if owners else None
