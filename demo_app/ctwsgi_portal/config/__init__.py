# SPDX-License-Identifier: MIT
"""The configuration is one TOML file; load.py reads it into frozen dataclasses."""

from .load import DEFAULT_PATH, Config, load, parse
from .table import ConfigError

__all__ = ["DEFAULT_PATH", "Config", "ConfigError", "load", "parse"]
