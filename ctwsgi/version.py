# SPDX-License-Identifier: MIT
"""The version of the distribution `ctwsgi`; the build reads it from this file."""

__version__ = "0.1.0"
