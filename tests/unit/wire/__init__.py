# SPDX-License-Identifier: MIT
"""Codecs: tables, vectors of other projects, properties."""
