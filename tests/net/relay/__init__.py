# SPDX-License-Identifier: MIT
"""The relay behind a real redirect."""
