# SPDX-License-Identifier: MIT
"""The configuration: one TOML file, read into frozen dataclasses (load.py)."""

from .load import DEFAULT_PATH, Config, load, parse
from .table import ConfigError

__all__ = ["DEFAULT_PATH", "Config", "ConfigError", "load", "parse"]
