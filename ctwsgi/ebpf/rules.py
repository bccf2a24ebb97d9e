# SPDX-License-Identifier: MIT
"""The nft rules and the systemd unit for a gateway with the injector.

The program must be attached before the rules are loaded: a translated connection that is older than
the program has no header. Guard (docs/threat-model.md#the-guard) and translation are in one table,
so that nft loads them in one transaction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..guard import guard_rules
from ..origin import Address
from ..wire.address import pack_host, show
from .errors import InjectorError

RULES = "/etc/nftables.d/ctwsgi.nft"

_DEVICE = re.compile(r"[\w.:@-]{1,15}")
"""The device names that need no quoting in nft and systemd. The kernel allows more."""


@dataclass(frozen=True)
class Setup:
    """What to print rules for: new connections to `ports` are translated to the server of their IP
    version, which `device` leads to. With `mark` they also get this conntrack mark."""

    device: str
    servers: tuple[Address, ...]
    """At most one for each IP version."""
    ports: tuple[int, ...]
    mark: int | None = None
    clients: str = ""
    """The device that the clients are behind; empty: any device."""
    udp_ports: tuple[int, ...] = ()
    """Ports of servers to which datagrams are translated as well as connections."""

    def __post_init__(self) -> None:
        """InjectorError when the rules would not mean what the setup says."""
        for name in filter(None, (self.device, self.clients)):
            if not _DEVICE.fullmatch(name):
                raise InjectorError(f"{name!r} is no name of a device: see `ip link`")
        if self.clients == self.device:
            raise InjectorError(
                f"--clients {self.clients}: these rules drop clients behind the servers' device: "
                "write rules of your own, and sign"
            )
        for host, _ in self.servers:
            try:
                pack_host(host)
            except ValueError:
                raise InjectorError(f"--server {host}: not an IP address") from None
        if len({_family(server) for server in self.servers}) != len(self.servers):
            raise InjectorError("one --server for IPv4 and one for IPv6: the rules do not balance")


def _family(server: Address) -> str:
    """The address family as nft names it."""
    return "ip6" if ":" in server[0] else "ip"


def _chain(name: str, *lines: str) -> str:
    return f"    chain {name} {{\n" + "".join(f"        {line}\n" for line in lines) + "    }\n"


def ruleset(setup: Setup) -> str:
    """An inet table. Loading it again replaces it."""
    ports = ", ".join(map(str, setup.ports))
    inward = f'iifname "{setup.clients}" ' if setup.clients else ""
    select, translate, guard = [], [], []
    for host, port in setup.servers:
        family = _family((host, port))
        version = "ipv6" if family == "ip6" else "ipv4"
        for protocol in ("tcp", "udp") if port in setup.udp_ports else ("tcp",):
            chosen = f"{inward}meta nfproto {version} {protocol} dport {{ {ports} }}"
            if setup.mark is not None:
                select.append(f"{chosen} ct state new ct mark set {setup.mark:#x}")
            translate.append(f"{chosen} dnat {family} to {show(host, port)}")
            guarded = f"{family} daddr {host} {protocol} dport {port}"
            guard += guard_rules(guarded)
            guard.append(f'{guarded} oifname != "{setup.device}" drop')
            # With br_netfilter a bridge forwards between its own ports, past the program.
            guard.append(f'{guarded} iifname "{setup.device}" drop')
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
    """The command that attaches the injector for these rules."""
    words = ["ctwsgi", "gateway", "run", setup.device]
    if setup.mark is None:
        words += [word for server in setup.servers for word in ("--backend", show(*server))]
    else:
        words += ["--mark", f"{setup.mark:#x}"]
    words += [word for port in setup.udp_ports for word in ("--udp", str(port))]
    return words + (["--auth-key-file", key_file] if key_file else [])


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def unit(setup: Setup, key_file: str | None, program: str) -> str:
    """A unit that attaches and then loads the rules. The program stays when the service stops."""
    words = attach_words(setup, key_file)
    command = " ".join([program, *words[1:]])
    # Escaped as by `systemd-escape`: of the characters of _DEVICE only these two need it.
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
