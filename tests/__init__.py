# SPDX-License-Identifier: MIT
"""Tests of ctwsgi and its portal; docs/architecture.md#tests says which folder tests what."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
