# SPDX-License-Identifier: MIT
"""Runs cases in turn: sets the lab up for each, and judges the state that it leaves."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterable
from functools import partial

from .case import OFFLOADS, Case, Session, Trial
from .injector import InjectorUnderTest
from .judge import Failure, require
from .kernel import flush_conntrack, unsettled, until
from .net import CommandError, Namespace
from .places import nat_rules
from .report import Report

GAUGES = ("flows", "memory")

DROPS_ON_BAD_WIRES = (
    "drop_synack",
    "drop_early",
    "drop_ack",
    "drop_below",
    "drop_no_syn",
)
"""Counters that may rise where wires reorder, duplicate or lose packets."""


class Runner:
    """Owns the lab, and knows the injector whose rules are loaded."""

    def __init__(self, report: Report) -> None:
        self.session = Session()
        self.report = report
        self._injector = InjectorUnderTest()
        self.session.lab.gateway.nft(nat_rules())

    async def run(self, cases: Iterable[Case], to_first_failure: bool = False) -> None:
        """Runs the cases in the order that needs the fewest changes to the lab."""
        for case in sorted(cases, key=_order):
            began = time.monotonic()
            self.report.begin(case.suite, case.name)
            self.session.log.mark(case.suite, case.name)
            trial, why = await self._run(case)
            facts = trial.facts if trial else {}
            self.report.end(case.suite, case.name, why, time.monotonic() - began, facts)
            if why and to_first_failure:
                return

    async def _run(self, case: Case) -> tuple[Trial | None, str]:
        trial = None
        try:
            self._prepare(case)
            trial = Trial(self.session, case)
            await self._body(trial)
            await self._judge(trial)
        except (Failure, TimeoutError, CommandError) as e:
            why = str(e)
        except Exception as e:  # an error in a case fails that case only
            traceback.print_exc()
            why = f"{type(e).__name__}: {e}"
        else:
            return trial, ""
        await self._clean_up()
        return trial, why.replace("\n", " ")

    async def _body(self, trial: Trial) -> None:
        task = asyncio.ensure_future(trial.case.body(trial))
        done, _ = await asyncio.wait([task], timeout=trial.case.limit)
        if not done:
            unfinished = trial.unfinished()  # before the cancelled task closes the connections
            task.cancel()
            await asyncio.wait([task])
            raise Failure(f"not done within {trial.case.limit:g} s; {unfinished}")
        await task

    def _prepare(self, case: Case) -> None:
        session = self.session
        if case.injector is not self._injector:
            self._change(case.injector)
        if case.offloads != session.offloads:
            session.lab.offloads(OFFLOADS[case.offloads])
            session.offloads = case.offloads
        session.wires.set_netem(case.impairment.netem)
        session.wires.lose(case.impairment, case.place)

    def close(self) -> None:
        """Unloads the injector and closes the namespaces."""
        self._injector.leave(self.session.lab.gateway)
        self.session.lab.close()

    def _change(self, injector: InjectorUnderTest) -> None:
        gateway = self.session.lab.gateway
        if former := self._injector.without_rules():
            gateway.nft(former)
        self._injector.leave(gateway)
        self._injector = injector
        injector.enter(gateway)
        if rules := injector.rules():
            gateway.nft(rules)

    async def _judge(self, trial: Trial) -> None:
        """Checks the state after a case."""
        case = trial.case
        facts = trial.facts
        await self._settle()
        facts.update(trial.risen())
        facts["invalid"] = trial.invalid()
        if case.impairment.once:
            facts["lost"] = lost = self.session.wires.lost()
            require(lost >= trial.connections, f"{lost} packets of {trial.connections} were lost")
        drops = {name: n for name, n in trial.risen().items() if name.startswith("drop_")}
        allowed = (*trial.may_drop, *(DROPS_ON_BAD_WIRES if case.impairment.netem else ()))
        drops = {name: n for name, n in drops.items() if name not in allowed}
        require(trial.drops_expected or not drops, f"the module dropped: {drops}")
        require(
            trial.invalid_expected or not trial.invalid(), f"conntrack INVALID: {trial.invalid()}"
        )
        flush_conntrack(trial.gateway)
        await self._released(trial)
        complaints = self.session.log.complaints()
        require(not complaints, f"kernel log: {'; '.join(complaints[:3])}")

    async def _settle(self) -> None:
        try:
            await self._sockets_end(10)
        except TimeoutError:
            # A FIN that netem loses again and again is retransmitted at doubling intervals.
            self.session.wires.set_netem("")
            await self._sockets_end(120)

    async def _sockets_end(self, limit: float) -> None:
        for space in self.session.lab.spaces.values():
            try:
                await until(partial(_settled, space), f"the sockets of {space.name} end", limit)
            except TimeoutError as e:
                raise TimeoutError(f"{e}: states {' '.join(unsettled(space))}") from None

    async def _released(self, trial: Trial) -> None:
        def held() -> dict[str, int]:
            return {name: n for name in GAUGES if (n := trial.counters().get(name, 0))}

        try:
            await until(lambda: not held(), "")
        except TimeoutError:
            raise Failure(f"the module still holds {held()}") from None

    async def _clean_up(self) -> None:
        """Removes what a failed case has left, so that the next case does not fail."""
        self.session.wires.set_netem("")
        self.session.lab.kill_sockets()
        flush_conntrack(self.session.lab.gateway)
        self.session.log.complaints()


def _settled(space: Namespace) -> bool:
    return not unsettled(space)


def _order(case: Case) -> tuple[str, ...]:
    wires = case.impairment.netem, case.impairment.once and case.impairment.name
    return case.injector.name, *map(str, wires), case.place.name, case.offloads
