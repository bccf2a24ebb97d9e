# SPDX-License-Identifier: MIT
"""The protocol engine over real sockets: tables of requests, hostile clients, deadlines."""
