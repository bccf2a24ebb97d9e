# SPDX-License-Identifier: MIT
"""The instructions of each function in a sample, counted by a plugin for QEMU (profile.c).

The counts are exact, for kernel and user space, and do not change what the guest does. A sample is
one run of the client without its warm-up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from pathlib import Path

USER_SPACE = 1 << 47

COLUMNS = "{:>12}{:>12}{:>12}  {}"
LINES = 60


def symbols(path: Path) -> list[tuple[int, str]]:
    """The functions of /proc/kallsyms, by address. A module's function has the module's name."""
    found = []
    for line in path.read_text().splitlines():
        address, kind, *names = line.split()
        if kind in "tTwW":
            found.append((int(address, 16), " ".join(names)))
    return sorted(found)


def instructions(counts: Path, names: Path) -> Counter[str]:
    """The counts of profile.so for each kernel function, and one for user space."""
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
    """A table of both, per unit of the workload; the largest differences come first."""
    most = sorted(base | other, key=lambda name: -abs(other[name] - base[name]))
    lines = [COLUMNS.format("more", "base", "other", f"instructions per {unit}")]
    for name in ["all", *most[:LINES]]:
        ours, theirs = (c.total() if name == "all" else c[name] for c in (base, other))
        values = (theirs - ours, ours, theirs)
        lines.append(COLUMNS.format(*(f"{value / units:,.0f}" for value in values), name))
    module = sum(count for name, count in other.items() if name.endswith("[ctinject]"))
    lines.append(f"of these in ctinject.ko: {module / units:,.0f}")
    return "\n".join(lines)
