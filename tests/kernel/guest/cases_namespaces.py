# SPDX-License-Identifier: MIT
"""Network namespaces beside the gateway's: what one of them does must not cost another anything.

Each has clients, NAT, rules and listener of its own, and all connections go over its `lo`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from .case import Trial
from .judge import judge_talk, require
from .kernel import until
from .lab import ORIGINAL, SYSCTLS
from .loads import SMALL, Load, parallel
from .named import MODULE, named
from .net import Namespace
from .places import PLACES, ROUTED, nat_rules
from .talk import Talk

FLOWS, CLIENTS = 200, 230


@contextmanager
def _beside(trial: Trial, user: bool = False) -> Iterator[Namespace]:
    """Another namespace with the gateway's rules, for the `with`."""
    space = Namespace("beside", user)
    try:
        space.sysctl(SYSCTLS)
        space.batch(
            "ip",
            f"addr add {ROUTED[4]}/32 dev lo",
            f"route add {ORIGINAL[4]} dev lo src {ROUTED[4]}",
        )
        space.nft(nat_rules() + trial.injector.rules())
        yield space
    finally:
        space.close()


def _talk(trial: Trial, space: Namespace, load: Load) -> Talk:
    return Talk(PLACES["lo"], {"gateway": space}, load, trial.injector, trial.session.ports)


async def _served(trial: Trial, space: Namespace) -> None:
    talk = _talk(trial, space, SMALL)
    await talk.run()
    judge_talk(talk)


def _count(trial: Trial, space: Namespace, name: str) -> int:
    return trial.injector.counters(space).get(name, 0)


@asynccontextmanager
async def _attempt(trial: Trial, space: Namespace, load: Load, refused: str) -> AsyncIterator[None]:
    """Clients that connect during the `with`; it begins when packets are dropped as `refused`."""
    running = asyncio.ensure_future(_talk(trial, space, load).run())
    try:
        await until(lambda: _count(trial, space, refused), f"{refused} rises in {space.name}")
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def _crowd(trial: Trial, space: Namespace) -> AsyncIterator[None]:
    """More clients than flows. The listener gets no payload, so that every flow lasts."""
    space.nft("""table inet hold {
  chain pre {
    type filter hook prerouting priority -300
    tcp dport 8080 meta length > 75 drop
  }
}
""")
    async with _attempt(trial, space, parallel(CLIENTS), "drop_flow_limit"):
        await until(lambda: _count(trial, space, "flows") == FLOWS, "every flow is taken")
        yield


@named("bounds", "gateway", injectors=MODULE, name="namespaces/apart")
async def _apart(trial: Trial) -> None:
    """A namespace has used all its flows; the gateway has its own."""
    with trial.injector.limits(max_flows=FLOWS), _beside(trial) as space:
        async with _crowd(trial, space):
            await trial.talk(SMALL)
            memory = _count(trial, space, "memory")
            require(memory > 0, f"{FLOWS} flows in {memory} bytes")


@named("bounds", "gateway", injectors=MODULE, name="namespaces/of-a-user")
async def _of_a_user(trial: Trial) -> None:
    """A user namespace's network namespace gets nothing, unless the host's root allows it."""
    with _beside(trial, user=True) as space:
        async with _attempt(trial, space, SMALL, "drop_user_namespace"):
            await trial.talk(SMALL)
        with trial.injector.limits(user_namespaces=1):
            await _served(trial, space)


@named("bounds", "gateway", injectors=MODULE, name="namespaces/of-users")
async def _of_users(trial: Trial) -> None:
    """Those that are allowed share one account, to which the end of a namespace gives back."""
    with trial.injector.limits(max_flows=FLOWS, user_namespaces=1), _beside(trial, True) as second:
        with _beside(trial, True) as first:
            async with _crowd(trial, first), _attempt(trial, second, SMALL, "drop_flow_limit"):
                await trial.talk(SMALL)
        await _served(trial, second)


@named("bounds", "gateway", injectors=MODULE, name="namespaces/read-by-anybody")
async def _read_by_anybody(trial: Trial) -> None:
    """Only who may administer the namespace registers the hooks by reading the counters."""
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    for reader, dropped in ((nobody, True), ((), False)):
        with _beside(trial) as space:
            space.run(*reader, "cat", "/proc/net/ctinject")
            await _served(trial, space)
            found = _count(trial, space, "drop_unarmed")
            require(bool(found) is dropped, f"read with {reader}: {found} packets found no hooks")
