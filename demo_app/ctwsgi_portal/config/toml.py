# SPDX-License-Identifier: MIT
"""The TOML reader: Python's own, and for Python before 3.11 the package tomli."""

import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["tomllib"]
