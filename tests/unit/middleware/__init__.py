# SPDX-License-Identifier: MIT
"""ctwsgi/middleware.py by itself, with real loopback connections."""
