# SPDX-License-Identifier: MIT
"""Lines for the gateway's DHCP, DNS and router advertisement servers.

RFC 8910 announces the portal's API by DHCPv4 option 114, DHCPv6 option 103, and router
advertisement option 37. dnsmasq (2.90) sends the first two only; radvd from 2.20 on and CoreRAD
send the third.
"""

from __future__ import annotations

from collections.abc import Sequence

from .ruleset import TABLE


def dnsmasq(api_url: str | None, names: Sequence[str]) -> str:
    """Lines for a file in /etc/dnsmasq.d. nftset needs dnsmasq 2.87 or newer."""
    lines = []
    if api_url:
        lines += [
            "# RFC 8910: devices ask the portal's API instead of probing.",
            f"dhcp-option=114,{api_url}",
            f"dhcp-option=option6:103,{api_url}",
        ]
    if names:
        lines += [
            "# The walled garden's names: clients may reach the addresses of an answer for a day.",
            "# dnsmasq adds no answers from its cache, so they must leave the cache before that.",
            "max-cache-ttl=3600",
            *(_nftset(name) for name in names),
        ]
    return "\n".join(lines) + "\n" if lines else ""


def radvd(api_url: str | None, interfaces: Sequence[str]) -> str:
    """Lines for each `interface` in /etc/radvd.conf (radvd 2.20 or newer), and for corerad.toml."""
    if not api_url:
        return ""
    where = ", ".join(interfaces)
    return (
        f"# In radvd.conf, in the interface of {where}:\n"
        f'#     AdvCaptivePortalAPI "{api_url}";\n'
        "# or in corerad.toml:\n"
        f'#     captive_portal = "{api_url}"\n'
    )


def _nftset(name: str) -> str:
    return f"nftset=/{name}/4#inet#{TABLE}#names4,6#inet#{TABLE}#names6"
