# SPDX-License-Identifier: MIT
"""Where instructions go: every function's share in a sample, counted by QEMU (profile.c).

Exact, of kernel and user space alike, and unseen by the guest. A sample is one run of the client
without its warm-up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from pathlib import Path

USER_SPACE = 1 << 47

COLUMNS = "{:>12}{:>12}{:>12}  {}"
LINES = 60


def symbols(path: Path) -> list[tuple[int, str]]:
    """/proc/kallsyms' functions by address; a module's bears its name."""
    found = []
    for line in path.read_text().splitlines():
        address, kind, *names = line.split()
        if kind in "tTwW":
            found.append((int(address, 16), " ".join(names)))
    return sorted(found)


def instructions(counts: Path, names: Path) -> Counter[str]:
    """By function, what profile.so has counted; user space as one."""
    table = symbols(names)
    addresses = [address for address, _ in table]
    found: Counter[str] = Counter()
    for line in counts.read_text().splitlines():
        word, number = line.split()
        address = int(word, 16)
        if address < USER_SPACE:
            name = "user space"
        else:
            name = table[bisect_right(addresses, address) - 1][1]
        found[name] += int(number)
    return found


def difference(base: Counter[str], other: Counter[str], units: float, unit: str) -> str:
    """Both, by function, for a unit of the workload: what differs most comes first."""
    most = sorted(base | other, key=lambda name: -abs(other[name] - base[name]))
    lines = [COLUMNS.format("more", "base", "other", f"instructions per {unit}")]
    for name in ["all", *most[:LINES]]:
        ours, theirs = (c.total() if name == "all" else c[name] for c in (base, other))
        values = (theirs - ours, ours, theirs)
        lines.append(COLUMNS.format(*(f"{value / units:,.0f}" for value in values), name))
    module = sum(count for name, count in other.items() if name.endswith("[ctinject]"))
    lines.append(f"of these in ctinject.ko: {module / units:,.0f}")
    return "\n".join(lines)
