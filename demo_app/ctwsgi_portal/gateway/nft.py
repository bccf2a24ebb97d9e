# SPDX-License-Identifier: MIT
"""Changes the kernel's packet filter with the nft tool, and reads its rules.

See nft(8) and libnftables-json(5). One call is one transaction. Adding an element takes 2 ms, also
when a set has 100,000. sets.py reads elements.
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

from .elements import Element, ElementBatch
from .ruleset import CONFIGURED, TABLE, Rules, load_script

SETS = ("macs", "granted4", "granted6", "back4", "back6")
"""The sets that the agent fills."""
FRESH, EARLY = ("fresh4", "fresh6"), ("early4", "early6")
"""The sets that the packet path fills; only EARLY has counters."""

CHUNK = 20_000
"""Elements in one transaction. It takes up to a second; an element's timeout may be that late."""

_KEY = re.compile(r"[0-9a-f.:]+")
"""An address or MAC. It keeps a client that can write to the store from writing nft commands."""

_ENVIRON = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


class NftError(Exception):
    """nft refused. The message is the first line of its output."""


class TableGone(NftError):
    """The portal's table, or a set in it, does not exist."""


class Counted(NamedTuple):
    """An element in the kernel."""

    ends_at: float
    """Unix seconds; math.inf for an element without a timeout."""
    bytes: int


def load(rules: Rules, absent: bool = False) -> None:
    """Loads the rules, and keeps the elements of an earlier agent.

    The elements are lost when the table's sets have other properties, or the table is `absent`.
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
    """Removes the table: every client passes."""
    _nft(["-f", "-"], f"add table inet {TABLE}\ndelete table inet {TABLE}\n")


def apply(batch: ElementBatch) -> None:
    """Applies the batch to the sets. May raise TableGone, NftError.

    An element may time out just before it is removed, which would make nft fail. So it is added and
    then removed; nft's `destroy` needs a newer kernel than Debian 12 has.
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
    """Seconds until the end of each, at least 1."""
    now = time.time()
    return {element: max(1.0, ends[element] - now) for element in elements}


def _lines(verb: str, left: Mapping[Element, float]) -> str:
    """A command for each set."""
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
    """A text that differs for each state of the table's rules; None when there is no table.

    It holds the handles, and so differs when others delete rules and add them again.
    """
    # Only this command does not read the elements (nft 1.0.6): 3 ms beside 100,000.
    answer = json.loads(_nft(["-j", "-t", "list", "ruleset"]))
    ours = [_bare(entry) for entry in answer["nftables"] if _is_ours(entry)]
    return json.dumps(ours, sort_keys=True) if ours else None


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return any(TABLE in (body.get("table"), body.get("name")) for body in entry.values() if body)


def _bare(value: Any) -> Any:
    """The value without the parts that packets change."""
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
