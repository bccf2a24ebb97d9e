# SPDX-License-Identifier: MIT
"""Changes the kernel's packet filter by the nft tool, and asks it for the rules.

nft(8), libnftables-json(5). One call is one transaction. A single element takes 2 ms, also beside
100,000. Elements are read by sets.py.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from .elements import Batch, Element
from .ruleset import CONFIGURED, TABLE, Rules, load_script

SETS = ("macs", "granted4", "granted6", "back4", "back6")
"""Those that the agent fills."""
FRESH, EARLY = ("fresh4", "fresh6"), ("early4", "early6")
"""Those that the packet path fills; only the latter count."""

CHUNK = 20_000
"""Elements per transaction: a second of work at most, so that timeouts are not late by more."""

_KEY = re.compile(r"[0-9a-f.:]+")
"""Addresses and MACs. Whoever can write to the store shall not write commands for nft."""

_ENVIRON = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


class NftError(Exception):
    """nft refused; the first line of what it said."""


class TableGone(NftError):
    """Our table, or a set of it, is not there."""


class Counted(NamedTuple):
    """An element as the kernel has it."""

    ends_at: float
    """Unix seconds; math.inf for one that stays."""
    bytes: int


def load(rules: Rules, absent: bool = False) -> None:
    """Puts the ruleset in place; elements of an earlier agent stay.

    They are lost, in the same transaction, when the table was made otherwise, or is known to be
    `absent`.
    """
    empty = "".join(f"flush set inet {TABLE} {name}\n" for name in CONFIGURED)
    if not absent:
        try:
            _nft(["-f", "-"], empty + load_script(rules))
            return
        except NftError:
            pass
    _nft(["-f", "-"], load_script(rules, replace=True))


def unload() -> None:
    """Takes the table away: everybody may pass."""
    _nft(["-f", "-"], f"add table inet {TABLE}\ndelete table inet {TABLE}\n")


def apply(batch: Batch) -> None:
    """Brings the batch into the sets. TableGone, NftError.

    A removal is an addition and a removal: the element may have run out meanwhile, and nft's
    `destroy` is younger than Debian's kernel.
    """
    for elements in _chunks(batch.remove):
        bare = dict.fromkeys(elements, 1.0)
        _nft(["-f", "-"], _lines("add", bare) + _lines("delete", bare))
    for elements in _chunks(batch.add):
        _nft(["-f", "-"], _lines("add", _left(batch.add, elements)))
    for elements in _chunks(batch.renew):
        left = _left(batch.renew, elements)
        add = _lines("add", left)
        _nft(["-f", "-"], add + _lines("delete", left) + add)


def _chunks(elements: Iterable[Element]) -> Iterator[list[Element]]:
    rest = iter(elements)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _left(ends: Mapping[Element, float], elements: Iterable[Element]) -> dict[Element, float]:
    """Seconds from now, at least one."""
    now = time.time()
    return {element: max(1.0, ends[element] - now) for element in elements}


def _lines(verb: str, left: Mapping[Element, float]) -> str:
    """One command for each set."""
    words: dict[str, list[str]] = {}
    for (name, key), seconds in left.items():
        if not _KEY.fullmatch(key):
            raise NftError(f"{key!r} is neither an address nor a MAC address")
        timed = f"{key} timeout {math.ceil(seconds)}s" if verb == "add" else key
        words.setdefault(name, []).append(timed)
    return "".join(
        f"{verb} element inet {TABLE} {name} {{ {', '.join(keys)} }}\n"
        for name, keys in words.items()
    )


def fingerprint() -> str | None:
    """Tells one state of our table's rules from another; None when there is no table.

    Handles are in it, so that rules that were deleted and put back by others show as well.
    """
    # Of all commands only this one leaves elements alone (nft 1.0.6): 3 ms beside 100,000.
    answer = json.loads(_nft(["-j", "-t", "list", "ruleset"]))
    ours = [_bare(entry) for entry in answer["nftables"] if _is_ours(entry)]
    return json.dumps(ours, sort_keys=True) if ours else None


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return any(TABLE in (body.get("table"), body.get("name")) for body in entry.values() if body)


def _bare(value: Any) -> Any:
    """Without what packets change."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if k not in ("counter", "elem")}
    return [_bare(v) for v in value] if isinstance(value, list) else value


def _nft(arguments: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            ["nft", *arguments], input=text, capture_output=True, text=True, env=_ENVIRON
        )
    except FileNotFoundError:
        raise NftError("no nft here: apt-get install nftables") from None
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).strip().partition("\n")[0]
    if "No such file or directory" in said or "does not exist" in said:
        raise TableGone(said)
    raise NftError(said or f"nft ended with {done.returncode}")
