# SPDX-License-Identifier: MIT
"""Allocations of the module fail: a packet is lost, and nothing else goes wrong.

These cases exist only on the debug kernel, which can make allocations fail.
"""

from __future__ import annotations

import ctypes
import os

from .case import Trial
from .faults import NEW_CACHE, available, code_of, each_fails, initialisation, some_fail
from .injector import Helper
from .judge import require
from .kernel import flush_conntrack
from .loads import SMALL, Load, keepalive, parallel, small_writes, upload
from .named import MODULE, SOME, Body, named
from .net import Namespace

INIT_MODULE = 175
"""The system call on x86-64. finit_module() would also fail while it reads the file."""

_libc = ctypes.CDLL(None, use_errno=True)


def _traffic(load: Load) -> Body:
    async def body(trial: Trial) -> None:
        """One of ten allocations in the packets' path fails; TCP retransmits."""
        trial.drops_expected = True
        with some_fail(code_of("ctinject"), 10):
            await trial.talk(load)

    return body


async def _namespaces(trial: Trial) -> None:
    """Making a namespace, or registering its hooks, succeeds or returns an error."""

    def make() -> None:
        space = Namespace("short")
        try:
            space.proc("ctinject")
        finally:
            space.close()

    failures = each_fails(code_of("ctinject"), make)
    # Six allocations are for two files and the counters, two for the hooks, one for each hook.
    require(failures >= 12, f"only {failures} allocations were made to fail")
    trial.facts["failures"] = failures
    await trial.talk(SMALL)


async def _keys(trial: Trial) -> None:
    """After a failed change the old key still signs."""

    def ids() -> list[str]:
        return trial.gateway.proc("ctinject_keys").split()

    def restore() -> None:
        trial.injector.set_keys(trial.gateway, "9\n7 " + "ab" * 16)

    def change() -> None:
        try:
            trial.injector.set_keys(trial.gateway, "7\n9 " + "cd" * 16)
        except OSError:
            require(ids() == ["7"], f"half a change: {ids()}")
            raise
        require(ids() == ["9"], f"no change: {ids()}")

    try:
        failures = each_fails(code_of("ctinject"), change, restore)
        require(failures >= 1, "no allocation was made to fail")
    finally:
        trial.injector.set_keys(trial.gateway, "7\n9")


async def _load(trial: Trial) -> None:
    """Loading succeeds, or fails and leaves nothing behind."""
    injector = trial.injector
    assert isinstance(injector, Helper)
    image = injector.file.read_bytes()

    def insert() -> None:
        if _libc.syscall(INIT_MODULE, image, len(image), b""):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def remove() -> None:
        if trial.counters():
            injector.unload()

    trial.gateway.nft(injector.without_rules())
    flush_conntrack(trial.gateway)
    try:
        failures = each_fails(initialisation(), insert, remove, NEW_CACHE)
        require(failures >= 20, f"only {failures} allocations were made to fail")
        trial.facts["failures"] = failures
    finally:
        if not trial.counters():
            injector.load()
        trial.gateway.nft(injector.rules())
    trial.before = trial.counters()
    await trial.talk(SMALL)


def _register() -> None:
    for load in (keepalive(60), upload("upload", 400_000, 1), parallel(40), small_writes(200)):
        for impairment in ("clean", "loss1"):
            named(
                "faults",
                *SOME,
                name=f"{load.name}/{impairment}",
                injectors=MODULE,
                impairment=impairment,
                limit=300,
            )(_traffic(load))
    named("faults", "gateway", name="namespaces", injectors=MODULE, limit=300)(_namespaces)
    named("faults", "gateway", name="keys", injectors=("ctproxy",))(_keys)
    named("faults", "gateway", name="load", injectors=MODULE, limit=600)(_load)


if available():
    _register()
