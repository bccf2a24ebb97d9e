# SPDX-License-Identifier: MIT
"""Why the injector cannot be attached, or asked."""

from __future__ import annotations


class GatewayError(Exception):
    """One line: what is wrong, and what to do about it."""
