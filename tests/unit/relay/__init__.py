# SPDX-License-Identifier: MIT
"""The relay on loopback."""
