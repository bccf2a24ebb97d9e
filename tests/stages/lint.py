# SPDX-License-Identifier: MIT
"""The linters as a part of a stage: one case for each.

python -m tests.stages.lint [--outcomes FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests import ROOT

from .outcomes import FAILED, PASSED, Writer

LINTERS = {
    "ruff format": ["ruff", "format", "--check", "--quiet", "."],
    "ruff check": ["ruff", "check", "--quiet", "."],
    "mypy --strict": ["mypy", "--no-error-summary"],
}

AGAIN = ("-m", "tests.stages.lint")


def main() -> int:
    """Returns the exit status: 1 when a linter complains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outcomes", type=Path)
    writer = Writer(parser.parse_args().outcomes)
    failed = False
    for name, command in LINTERS.items():
        writer.begin(name)
        words = ["-m", *command]
        complains = bool(subprocess.run([sys.executable, *words], cwd=ROOT).returncode)
        print(f"{name}: {'failed' if complains else 'ok'}", flush=True)
        writer.end(name, FAILED if complains else PASSED, again=AGAIN)
        failed |= complains
    writer.complete()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
