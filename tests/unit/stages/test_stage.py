# SPDX-License-Identifier: MIT
"""The runner tells the truth about parts that pass, fail, hang, die and run nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.stages import repeat, stage, summary
from tests.stages.outcomes import FAILED, FLAKY, PASSED, SKIPPED, Outcome
from tests.stages.part import Part, RunningPart
from tests.stages.stage import Options, Stage


@pytest.fixture
def run(tmp_path):
    """Runs `code` as a test file, in a pytest of its own; gives the outcomes."""

    def run_code(code: str, *, limit: float = 60, retry: bool = False) -> list[Outcome]:
        path = tmp_path / "test_sample.py"
        path.write_text(textwrap.dedent(code))
        options = Options(tmp_path / "logs", limit, {}, retry=retry)
        results = stage.run(Stage("sample", 1, (Part("part", (str(path),)),)), options)
        return [each for result in results for each in result.outcomes]

    return run_code


def told(outcomes: list[Outcome]) -> dict[str, str]:
    return {each.case.rpartition("::")[2]: each.outcome for each in outcomes}


def until(look: Callable[[], Any], seconds: float = 60) -> Any:
    """What `look` gives as soon as that is true."""
    last = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < last
        time.sleep(0.02)
    return seen


def close(outcomes: list[Outcome]) -> int:
    part = Part("part", ("x",))
    result = stage.Result(part, outcomes, 1.0, Path("part.log"))
    return summary.show([(Stage("sample", 1, (part,)), [result], 0.1)])


MIXED = """
    import pytest

    def test_good(): pass
    def test_bad(): assert 1 == 2
    @pytest.mark.skip(reason="not today\\nnor tomorrow")
    def test_left_out(): pass
    @pytest.fixture
    def late():
        yield
        raise OSError("gone")
    def test_teardown(late): pass
"""


def test_each_case_is_told(run, tmp_path, capsys):
    outcomes = run(MIXED)
    assert told(outcomes) == {
        "test_good": PASSED,
        "test_bad": FAILED,
        "test_left_out": SKIPPED,
        "test_teardown": FAILED,
    }
    assert close(outcomes) == 1
    words = capsys.readouterr().out
    assert "assert 1 == 2" in words
    assert "skipped 1: not today\n" in words
    assert f"run it: .venv/bin/python -m pytest {tmp_path}/test_sample.py::test_bad\n" in words
    assert words.rstrip().endswith("1 passed, 2 failed, 1 skipped")


def test_what_hangs_is_killed_and_named(tmp_path):
    path = tmp_path / "test_sample.py"
    path.write_text("def test_it():\n    import time; time.sleep(600)")
    hanging = RunningPart(Part("part", (str(path),)), tmp_path, limit=600)
    until(lambda: "::test_it" in hanging.state())
    hanging.limit = 0
    outcomes = until(hanging.poll).outcomes
    assert outcomes[-1].case == "part"
    assert outcomes[-1].why.startswith("not done within 0 s")


def test_fixtures_end_before_a_part_is_killed(tmp_path):
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    path = tmp_path / "test_sample.py"
    path.write_text(textwrap.dedent(TIDY.format(begun=str(begun), ended=str(ended))))
    hanging = RunningPart(Part("part", (str(path),)), tmp_path, limit=600)
    until(begun.exists)  # the state names the test before its fixtures are there
    hanging.interrupt()
    until(hanging.poll)
    assert ended.exists()


TIDY = """
    import time
    from pathlib import Path
    import pytest

    @pytest.fixture
    def served():
        yield
        Path({ended!r}).touch()

    def test_it(served):
        Path({begun!r}).touch()
        time.sleep(600)
"""

RUNNER = """
from pathlib import Path
from tests.lab.ending import end_in_order
from tests.stages.part import Part
from tests.stages.stage import Options, Stage, run
end_in_order()
run(Stage("sample", 1, (Part("part", ({path!r},)),)), Options(Path({logs!r}), 600, {{}}))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_end_ends_its_parts_first(tmp_path, number):
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    path = tmp_path / "test_sample.py"
    path.write_text(textwrap.dedent(TIDY.format(begun=str(begun), ended=str(ended))))
    code = RUNNER.format(path=str(path), logs=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as runner:
        try:
            until(begun.exists)
            runner.send_signal(number)
            assert runner.wait(60) == 128 + number
        finally:
            runner.kill()
    assert ended.exists()


GOOD = "def test_good(): pass\n"
ENDS = {
    "killed": "def test_it():\n    import os; os.kill(os.getpid(), 9)",
    "after a failure": "def test_bad(): assert 0\ndef test_it():\n    import os; os._exit(1)",
    "in good order": "def test_it():\n    import os; os._exit(0)",
}


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_a_part_that_dies_has_failed_whatever_its_cases_tell(run, code, retry):
    outcomes = run(GOOD + code, retry=retry)
    assert outcomes[0].outcome == PASSED
    assert (outcomes[-1].case, outcomes[-1].outcome) == ("part", FAILED)
    assert "::test_it" in outcomes[-1].why


def test_a_file_that_cannot_be_read_has_failed(run):
    outcomes = run("import no_such_module_at_all", retry=True)
    assert [each.outcome for each in outcomes] == [FAILED, FAILED]
    assert "no_such_module_at_all" in outcomes[0].why


def test_no_test_is_no_success(run):
    outcomes = run("def helper(): pass")
    assert [each.outcome for each in outcomes] == [SKIPPED]
    assert close(outcomes) == 1


FLAKY_CODE = """
    from pathlib import Path
    MARK = Path({mark!r})

    def test_it():
        first = not MARK.exists()
        MARK.write_text("")
        assert not first
"""


@pytest.mark.parametrize("retry", [False, True])
def test_only_where_asked_a_second_try_decides(run, tmp_path, capsys, retry):
    outcomes = run(FLAKY_CODE.format(mark=str(tmp_path / "mark")), retry=retry)
    assert told(outcomes) == {"test_it": FLAKY if retry else FAILED}
    capsys.readouterr()
    assert close(outcomes) == (0 if retry else 1)
    words = capsys.readouterr().out
    assert "test_it" in words
    if retry:
        assert words.rstrip().endswith("1 passed, 0 failed, 0 skipped")
        logs = sorted(path.name for path in (tmp_path / "logs" / "sample").glob("*.log"))
        assert len(logs) == 2


def test_what_fails_twice_has_failed(run):
    assert told(run("def test_it(): assert 0", retry=True)) == {"test_it": FAILED}


def test_a_long_part_says_how_far_it_is(run, monkeypatch, capsys):
    monkeypatch.setattr(stage, "EVERY", 0.2)
    run("def test_it():\n    import time; time.sleep(1)")
    assert re.search(r"part: \d+ s, 0 done, 0 failed; .*::test_it", capsys.readouterr().out)


def test_repeat_counts_how_often_each_failed(capsys):
    failure = Outcome("a::b", FAILED, "assert 0")
    assert repeat.show(3, 4, [(1, failure), (3, failure)]) == 1
    assert "2 of 3: a::b (rounds 1, 3)" in capsys.readouterr().out


def test_the_busy_loops_end():
    with repeat.load(1) as processes:
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)
