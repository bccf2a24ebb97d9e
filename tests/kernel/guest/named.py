# SPDX-License-Identifier: MIT
"""Named cases: a body, and the places and injectors that it runs with.

    @named("ends", "gateway", "dnat")
    async def half_close(trial): ...

makes the cases `INJECTOR/gateway/half-close` and `INJECTOR/dnat/half-close` for each injector that
supports the place. `cases` imports every file cases_*.py, which registers its cases.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from .case import Case, Trial
from .impair import IMPAIRMENTS
from .injector import InjectorUnderTest
from .places import PLACES

Body = Callable[[Trial], Awaitable[None]]

ALL = ("gateway", "dnat", "redirect", "lo", "gateway6", "dnat6", "lo6")
SOME = ("gateway", "dnat", "lo", "gateway6")
INJECTORS = ("none", "ctframe", "ctproxy", "ebpf")
MODULE = ("ctframe", "ctproxy")
HEADERS = ("ctproxy", "ebpf")
WRITERS = (*MODULE, "ebpf")


@dataclass(frozen=True)
class Named:
    """A registered body and its parameters."""

    suite: str
    name: str
    body: Body
    places: tuple[str, ...]
    injectors: tuple[str, ...]
    impairment: str
    offloads: str
    plain: tuple[str, ...]
    limit: float

    def cases(self, injector: InjectorUnderTest) -> Iterator[Case]:
        """A case for each place that the injector supports."""
        for place in self.places:
            if place in injector.places and injector.name in self.injectors:
                yield Case(
                    self.suite,
                    f"{injector.name}/{place}/{self.name}",
                    injector,
                    PLACES[place],
                    self.body,
                    self.offloads,
                    IMPAIRMENTS[self.impairment],
                    plain=place in self.plain,
                    limit=self.limit,
                )


REGISTERED: list[Named] = []


def named(
    suite: str,
    *places: str,
    name: str = "",
    injectors: tuple[str, ...] = INJECTORS,
    impairment: str = "clean",
    offloads: str = "on",
    plain: tuple[str, ...] | None = None,
    limit: float = 120,
) -> Callable[[Body], Body]:
    """Registers a body under its own name. `plain` are the places of the plain run, by default
    all."""

    def register(body: Body) -> Body:
        title = name or body.__name__.replace("_", "-")
        wanted = places if plain is None else plain
        case = Named(suite, title, body, places, injectors, impairment, offloads, wanted, limit)
        REGISTERED.append(case)
        return body

    return register


def cases(injector: InjectorUnderTest) -> Iterator[Case]:
    """Every named case of that injector."""
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        import_module(f".{path.stem}", __package__)
    for each in REGISTERED:
        yield from each.cases(injector)
