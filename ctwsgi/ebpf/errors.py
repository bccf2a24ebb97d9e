# SPDX-License-Identifier: MIT
"""The error of everything in this package."""

from __future__ import annotations


class GatewayError(Exception):
    """The injector cannot be attached, changed or read. One line says why and what to do."""
