# SPDX-License-Identifier: MIT
"""Measures how fast grants reach all gateways, and the cost of 100,000 sessions."""
