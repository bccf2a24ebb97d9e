# SPDX-License-Identifier: MIT
"""The lines for the gateway's other programs: who tells clients of the portal, and who fills names.

RFC 8910: DHCPv4 option 114, DHCPv6 option 103, router advertisement option 37. dnsmasq sends the
first two; its router advertisements cannot carry the third (2.90), those of radvd from 2.20 and of
CoreRAD can.
"""

from __future__ import annotations

from collections.abc import Sequence

from .ruleset import TABLE


def dnsmasq(api_url: str | None, names: Sequence[str]) -> str:
    """For a file in /etc/dnsmasq.d. dnsmasq 2.87 or newer, for nftset."""
    lines = []
    if api_url:
        lines += [
            "# RFC 8910: devices ask the portal's API instead of probing.",
            f"dhcp-option=114,{api_url}",
            f"dhcp-option=option6:103,{api_url}",
        ]
    if names:
        lines += [
            "# The walled garden's names: every answer's addresses are let through for a day. What",
            "# dnsmasq has in its cache it does not add again, so nothing may stay there longer.",
            "max-cache-ttl=3600",
            *(_nftset(name) for name in names),
        ]
    return "\n".join(lines) + "\n" if lines else ""


def radvd(api_url: str | None, interfaces: Sequence[str]) -> str:
    """For /etc/radvd.conf, inside each `interface`. radvd 2.20 or newer."""
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
