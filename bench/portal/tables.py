# SPDX-License-Identifier: MIT
"""Prints `gone SECONDS` and `back SECONDS` when a table of the packet filter goes and comes back.

    python -m bench.portal.tables TABLE

It runs in the gateway's namespace.
"""

from __future__ import annotations

import sys

from .announced import announced

_WORDS = {10 << 8 | 0: "back", 10 << 8 | 2: "gone"}  # NEWTABLE, DELTABLE


def main(table: str) -> None:
    for kind, message, now in announced():
        if kind in _WORDS and table.encode() + b"\0" in message:
            print(_WORDS[kind], f"{now:.6f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
