# SPDX-License-Identifier: MIT
"""How fast grants reach all gateways, and what 100,000 of them cost: `python -m bench.portal`."""
