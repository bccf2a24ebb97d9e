# SPDX-License-Identifier: MIT
"""`ctwsgi gateway`: what needs no kernel."""
