# SPDX-License-Identifier: MIT
"""The guard: nft rules that let only translated connections reach a server.

`docs/threat-model.md#the-guard` says when it is needed. These rules are printed for operators to
load, so they are built in one place.
"""

from __future__ import annotations

UNTRANSLATED = "ct status ! dnat"
UNTRACKED = "ct state invalid,untracked"
"""A packet that conntrack does not follow has no status to compare. Without this condition an ACK
that belongs to no connection passes where `nf_conntrack_tcp_loose` is 0; a server that takes it for
the answer to a SYN cookie opens a connection, and the client writes its first bytes.
"""
CONDITIONS = (UNTRANSLATED, UNTRACKED)
"""What a guard drops."""


def guard_rules(match: str, conditions: tuple[str, ...] = CONDITIONS) -> list[str]:
    """One rule per condition; `match` selects the server's packets, as in `tcp dport 8080`."""
    return [f"{match} {condition} drop" for condition in conditions]


def guard_table(hook: str, rules: list[str]) -> str:
    """A table that holds nothing but a guard. `hook` is input on the server's own host, forward on
    a gateway in front of it."""
    lines = "".join(f"        {rule}\n" for rule in rules)
    return (
        "table inet ctwsgi_guard {\n"
        f"    chain {hook} {{\n"
        f"        type filter hook {hook} priority filter; policy accept;\n"
        f"{lines}"
        "    }\n"
        "}"
    )


def local_guard(port: int) -> str:
    """The table that makes `--guarded` true on the server's own host."""
    return guard_table("input", guard_rules(f"tcp dport {port}"))
