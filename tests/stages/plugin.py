# SPDX-License-Identifier: MIT
"""A plugin for pytest, `-p tests.stages.plugin`: writes each test's outcome to a file.

The file is named by the environment, so that a pytest that a test starts does not write to it: the
variable is removed when it has been read.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .outcomes import FAILED, PASSED, SKIPPED, Writer

VARIABLE = "CTWSGI_TEST_OUTCOMES"


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.pop(VARIABLE, "")
    writer = Writer(Path(path) if path else None)
    config.pluginmanager.register(Recorder(writer, config.rootpath))


class Recorder:
    """Joins the reports on set-up, call and teardown of each test into one outcome."""

    def __init__(self, writer: Writer, root: Path) -> None:
        self._writer = writer
        self._prefix = "" if root == Path.cwd() else f"{root}/"
        self._outcome = PASSED
        self._why = ""
        self._seconds = 0.0

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._outcome, self._why, self._seconds = PASSED, "", 0.0
        self._writer.begin(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds += report.duration
        if report.failed:
            self._outcome = FAILED
            self._why += _last_words(report)
        elif report.skipped and self._outcome == PASSED:
            self._outcome, self._why = SKIPPED, _reason(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        again = ("-m", "pytest", self._prefix + nodeid)
        self._writer.end(nodeid, self._outcome, self._why, again, self._seconds)

    def pytest_sessionfinish(self) -> None:
        self._writer.complete()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            again = ("-m", "pytest", self._prefix + report.nodeid)
            self._writer.end(report.nodeid, FAILED, _last_words(report), again)


def _last_words(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The lines of an assertion that pytest marks with E, or else the last line."""
    lines = report.longreprtext.splitlines()
    marked = [line[1:].strip() for line in lines if line.startswith("E ")]
    return " | ".join(marked[:3]) or (lines[-1] if lines else "")


def _reason(report: pytest.TestReport) -> str:
    told = report.longrepr
    text = told[2] if isinstance(told, tuple) else str(told)
    return text.removeprefix("Skipped: ")
