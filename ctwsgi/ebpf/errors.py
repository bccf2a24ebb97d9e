# SPDX-License-Identifier: MIT
"""The error that this package raises."""

from __future__ import annotations


class InjectorError(Exception):
    """The injector cannot be attached, changed or read. One line says why and what to do."""
