# SPDX-License-Identifier: MIT
"""`ctwsgi check`: what this host can do, and what its packet filter leaves open."""
