# SPDX-License-Identifier: MIT
"""Whole paths through network namespaces: sources, guard, middleware, demo."""
