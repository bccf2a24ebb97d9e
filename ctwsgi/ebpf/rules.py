# SPDX-License-Identifier: MIT
"""The nft rules and the systemd unit that go with an attached injector, for one setup.

The order matters: the program is attached before the rules are loaded, so that no translated
connection is older than it; the guard comes with the translation in one transaction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..guard import guard_rules
from ..origin import Address
from ..wire.address import pack_host, show
from .errors import GatewayError

RULES = "/etc/nftables.d/ctwsgi.nft"

_DEVICE = re.compile(r"[\w.:@-]{1,15}")
"""Of what the kernel allows (dev_valid_name), what needs no quoting in nft and systemd."""


@dataclass(frozen=True)
class Setup:
    """Connections to `ports` go to the server of their IP version, by `device`, with `mark`."""

    device: str
    servers: tuple[Address, ...]
    """At most one of each IP version."""
    ports: tuple[int, ...]
    mark: int | None = None
    clients: str = ""
    """The device that the clients are behind; empty: any."""

    def __post_init__(self) -> None:
        """GatewayError for what would be other rules than the ones that were meant."""
        for name in filter(None, (self.device, self.clients)):
            if not _DEVICE.fullmatch(name):
                raise GatewayError(f"{name!r} is no name of a device: see `ip link`")
        for host, _ in self.servers:
            try:
                pack_host(host)
            except ValueError:
                raise GatewayError(f"--server {host}: not an IP address") from None
        if len({_family(server) for server in self.servers}) != len(self.servers):
            raise GatewayError("one --server for IPv4 and one for IPv6: the rules do not balance")


def _family(server: Address) -> str:
    """In nft's words."""
    return "ip6" if ":" in server[0] else "ip"


def _chain(name: str, *lines: str) -> str:
    return f"    chain {name} {{\n" + "".join(f"        {line}\n" for line in lines) + "    }\n"


def ruleset(setup: Setup) -> str:
    """An inet table that can be loaded again and again."""
    ports = ", ".join(map(str, setup.ports))
    inward = f'iifname "{setup.clients}" ' if setup.clients else ""
    select, translate, guard = [], [], []
    for host, port in setup.servers:
        family = _family((host, port))
        version = "ipv6" if family == "ip6" else "ipv4"
        chosen = f"{inward}meta nfproto {version} tcp dport {{ {ports} }}"
        if setup.mark is not None:
            select.append(f"{chosen} ct state new ct mark set {setup.mark:#x}")
        translate.append(f"{chosen} dnat {family} to {show(host, port)}")
        guarded = f"{family} daddr {host} tcp dport {port}"
        guard += guard_rules(guarded)
        guard.append(f'{guarded} oifname != "{setup.device}" drop')
    chains = [
        _chain("select", "type filter hook prerouting priority mangle;", *select) if select else "",
        _chain("translate", "type nat hook prerouting priority dstnat;", *translate),
        _chain("guard", "type filter hook forward priority filter;", *guard),
    ]
    return (
        "table inet ctwsgi {\n}\ndelete table inet ctwsgi\n"
        f"table inet ctwsgi {{\n{''.join(chains)}}}\n"
    )


def attach_words(setup: Setup, key_file: str | None) -> list[str]:
    """The command that goes with these rules."""
    words = ["ctwsgi", "gateway", "run", setup.device]
    if setup.mark is None:
        words += [word for server in setup.servers for word in ("--backend", show(*server))]
    else:
        words += ["--mark", f"{setup.mark:#x}"]
    return words + (["--auth-key-file", key_file] if key_file else [])


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def unit(setup: Setup, key_file: str | None, program: str) -> str:
    """Attached before the rules are there; left attached when the service stops."""
    words = attach_words(setup, key_file)
    command = " ".join([program, *words[1:]])
    # As `systemd-escape` does; of what _DEVICE lets through there is nothing else.
    device = f"sys-subsystem-net-devices-{re.sub('[-@]', _escaped, setup.device)}.device"
    return f"""[Unit]
Description=Original destinations for the servers behind {setup.device}
Wants=network-pre.target
After={device}
BindsTo={device}

[Service]
Type=notify
ExecStart={command}
ExecStartPost=/usr/sbin/nft -f {RULES}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
CapabilityBoundingSet=CAP_NET_ADMIN CAP_BPF CAP_PERFMON
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_MODULE CAP_DAC_OVERRIDE

[Install]
WantedBy=multi-user.target
"""
