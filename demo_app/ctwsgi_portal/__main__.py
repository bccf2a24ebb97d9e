# SPDX-License-Identifier: MIT
"""The start of the command, `ctwsgi-portal` or `python -m ctwsgi_portal`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command. A Python module that is missing ends it in one line."""
    try:
        from .cli import main as command

        command(prog_name="ctwsgi-portal")
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package in ("", __package__):
            raise
        sys.exit(
            f"ctwsgi-portal: the Python module {package} is missing; "
            f"in a checkout of ctwsgi: {sys.executable} -m pip install . ./demo_app"
        )


if __name__ == "__main__":
    main()
