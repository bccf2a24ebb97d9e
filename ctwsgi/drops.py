# SPDX-License-Identifier: MIT
"""The meaning of the `drop_` counters that the kernel module and the eBPF program share."""

from __future__ import annotations

COMMON_HINTS = {
    "early": "clients sent data before the server had answered",
    "below": "clients sent data with the header's numbers: an attack, or a very late copy",
    "ack": "clients acknowledged what the server never sent: an attack, or a very old connection",
    "behind_fin": "data behind the end of a connection",
    "synack": "SYN-ACKs that answer no SYN of the client: late, or sent in the server's name",
    "signature_option": "TCP-MD5 and TCP-AO forbid any change: exempt these clients in the rule",
    "malformed": "packets that contradict themselves",
    "mtu": "UDP datagrams that would not fit behind the prefix: the sender has to leave room",
    "gso": "several UDP datagrams in one packet: ethtool -K DEVICE rx-udp-gro-forwarding off",
}
"""For the counter `drop_NAME`: why packets were dropped, or what to do about it."""
