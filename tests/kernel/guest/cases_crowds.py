# SPDX-License-Identifier: MIT
"""Many connections at once, and duplicated handshakes."""

from __future__ import annotations

from .case import Trial
from .loads import CLOSE, SMALL, Load, keepalive, parallel, upload
from .named import SOME, named

THREE = ("gateway", "dnat", "gateway6")


@named("crowds", *THREE, limit=240, plain=())
async def two_thousand(trial: Trial) -> None:
    """2,000 connections, 100 at once."""
    await trial.talk(parallel(2000, 100))


@named("crowds", *THREE, plain=("gateway",))
async def five_hundred(trial: Trial) -> None:
    """500 connections, for the plain run."""
    await trial.talk(parallel(500, 100))


@named("crowds", *THREE, impairment="duplicate30", limit=180, plain=("gateway", "dnat"))
async def twins(trial: Trial) -> None:
    """Every wire duplicates three packets of ten. Two SYNs at once make two conntrack entries, of
    which the kernel drops one. A flow of the dropped entry must not hide the other's flow."""
    await trial.talk(parallel(150))


def _storm(load: Load, *plain: str) -> None:
    @named("crowds", *SOME, name=f"storm/{load.name}", impairment="storm", limit=180, plain=plain)
    async def _body(trial: Trial) -> None:
        await trial.talk(load)


_storm(parallel(50), "gateway")
_storm(keepalive(60), "gateway", "dnat")
_storm(upload("1mb", 1 << 20, 200_000), "gateway", "lo")
_storm(Load("closes", CLOSE.client, CLOSE.server, 20, 20, client_end="closed", data=False))
_storm(SMALL, "gateway6")
