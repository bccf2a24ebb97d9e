# SPDX-License-Identifier: MIT
"""Modules by themselves; a folder here mirrors the package that it tests."""
