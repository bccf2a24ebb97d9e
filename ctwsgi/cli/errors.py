# SPDX-License-Identifier: MIT
"""How a command ends when it cannot do what it was asked."""

from __future__ import annotations

import click


class CannotDo(click.ClickException):
    """Printed as one line that says what to do, without the usage text; exit code 2."""

    exit_code = 2
