# SPDX-License-Identifier: MIT
"""Modules by themselves; a folder here mirrors the package or module that it tests."""
