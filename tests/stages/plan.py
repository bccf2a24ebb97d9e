# SPDX-License-Identifier: MIT
"""Which stages each target has, and the parts of each.

The parts of a stage run side by side, three at a time: long ones first. A part is a pytest of
its own, or a module of ours that can write outcomes.
"""

from __future__ import annotations

from tests import ROOT

from .part import Part
from .stage import Stage


def _glob(pattern: str) -> tuple[str, ...]:
    return tuple(sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)))


_HOSTILE = _glob("tests/http/test_hostile*.py")
_SLOW = ("tests/http/test_memory.py", "tests/http/test_deadlines.py")
"""They wait, or move gigabytes."""

_GATEWAY = _glob("tests/portal/test_gateway_*.py")

_LIFE = "tests/portal/test_gateway_life.py"
_COMMANDS = ("tests/portal/test_cli.py", "tests/portal/test_admin.py")
_STOP = "tests/serve/test_stop.py"

_PACKAGING = tuple(
    f"tests/kernel/test_packaging.py::test_{name}"
    for name in (
        "checkpatch",
        "dkms_builds_signs_and_removes",
        "make_install_and_uninstall",
        "rules_of_the_readme",
        "sparse",
    )
)
"""By name, because they are marked `full`: each takes half a minute."""

_TRAFFIC = "tests/bpf/test_traffic.py"


def _without(*paths: str) -> tuple[str, ...]:
    return tuple(f"--ignore={path}" for path in paths)


PYTHON = Stage(
    "Python",
    2.5,
    (
        Part("unit", ("tests/unit", "bench")),
        Part("slow", (*_HOSTILE, *_SLOW)),
        Part("http", ("tests/http", *_without(*_HOSTILE, *_SLOW))),
        Part("lint", module=("tests.stages.lint",)),
    ),
)

NAMESPACES = Stage(
    "namespaces",
    2.5,
    (
        Part("serve", ("tests/serve", *_without(_STOP))),
        Part("bpf", ("tests/bpf", *_without(_TRAFFIC))),
        Part("net", ("tests/net",)),
        Part("stop", (_STOP,)),
        Part("traffic", (_TRAFFIC,)),
    ),
)

PORTAL = Stage(
    "portal",
    2,
    (
        Part("gateway", tuple(path for path in _GATEWAY if path != _LIFE)),
        Part("portal", ("tests/portal", *_without(*_GATEWAY, *_COMMANDS))),
        Part("life", (_LIFE,)),
        Part("commands", _COMMANDS),
        Part("browser", ("tests/browser",)),
    ),
)

SMOKE = Stage(
    "smoke",
    2.5,
    (
        Part("guests", module=("tests.kernel", "--smoke"), alone=True),
        Part("harness", ("tests/kernel",)),
    ),
)


def _guests(*full: str) -> Stage:
    return Stage(
        "guests",
        15,
        (
            Part("guests", module=("tests.kernel", *full), alone=True),
            Part("native", module=("tests.bpf", *full)),
            Part("packaging", _PACKAGING),
        ),
    )


REALTIME = Stage(
    "realtime",
    5,
    (Part("guest", module=("tests.kernel", "--kernel", "6.12-rt", "--smoke"), alone=True),),
)

MISTAKES = Stage(
    "mistakes",
    20,
    (
        Part("module", module=("tests.kernel.mistakes",), alone=True),
        Part("program", module=("tests.bpf.mistakes",), alone=True),
    ),
)

TARGETS = {
    "test": (PYTHON, NAMESPACES, PORTAL, SMOKE),
    "test-kernel": (_guests(),),
    "test-full": (PYTHON, NAMESPACES, PORTAL, SMOKE, _guests("--full"), REALTIME, MISTAKES),
}

STAGES = {
    stage.name: stage for stage in (*TARGETS["test"], *TARGETS["test-kernel"], REALTIME, MISTAKES)
}
"""By name, for `make test-repeat`."""

LIMITS = {"test": 1200.0, "test-kernel": 1800.0, "test-full": 4 * 3600.0}
"""Seconds for one part, after which it is killed and has failed."""
