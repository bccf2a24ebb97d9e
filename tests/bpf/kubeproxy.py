# SPDX-License-Identifier: MIT
"""The shape of kube-proxy's rules for one service, in its modes iptables and nftables.

Chains are named as there, without the hashes. `rules` gives a text for each IP version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.lab import Node, show

MASQUERADE = "0x4000"
"""The packet mark of what KUBE-POSTROUTING masquerades: bit 14, kube-proxy's default."""


@dataclass(frozen=True)
class Service:
    """A service with externalTrafficPolicy Cluster."""

    name: str
    cluster_ip: str
    external_ip: str
    """A balancer's, which passes packets on unchanged, or one of externalIPs."""
    port: int
    node_port: int
    endpoints: tuple[tuple[str, int], ...]


def _iptables(services: tuple[Service, ...], pods: str) -> str:
    mask = f"{MASQUERADE}/{MASQUERADE}"
    chains = ["SERVICES", "NODEPORTS", "POSTROUTING", "MARK-MASQ"]
    rules = [
        "PREROUTING -j KUBE-SERVICES",
        "OUTPUT -j KUBE-SERVICES",
        "POSTROUTING -j KUBE-POSTROUTING",
        f"KUBE-POSTROUTING -m mark ! --mark {mask} -j RETURN",
        f"KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE}",
        "KUBE-POSTROUTING -j MASQUERADE --random-fully",
        f"KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE}",
    ]
    for service in services:
        svc, ext = f"SVC-{service.name}", f"EXT-{service.name}"
        to = f"-p tcp -m tcp --dport {service.port}"
        chains += [svc, ext]
        rules += [
            f"KUBE-SERVICES -d {service.cluster_ip} {to} -j KUBE-{svc}",
            f"KUBE-SERVICES -d {service.external_ip} {to} -j KUBE-{ext}",
            f"KUBE-NODEPORTS -p tcp -m tcp --dport {service.node_port} -j KUBE-{ext}",
            f"KUBE-{ext} -j KUBE-MARK-MASQ",
            f"KUBE-{ext} -j KUBE-{svc}",
            f"KUBE-{svc} ! -s {pods} -d {service.cluster_ip} {to} -j KUBE-MARK-MASQ",
        ]
        left = len(service.endpoints)
        for number, endpoint in enumerate(service.endpoints):
            sep = f"SEP-{service.name}-{number}"
            chains.append(sep)
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " * (left > 1)
            left -= 1
            rules += [
                f"KUBE-{svc} {chance}-j KUBE-{sep}",
                f"KUBE-{sep} -s {endpoint[0]} -j KUBE-MARK-MASQ",
                f"KUBE-{sep} -p tcp -m tcp -j DNAT --to-destination {show(endpoint)}",
            ]
    rules.append("KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
    return (
        "*filter\n:KUBE-FORWARD -\n-A FORWARD -j KUBE-FORWARD\n"
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"
        f"-A KUBE-FORWARD -m mark --mark {mask} -j ACCEPT\n"
        "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n*nat\n"
        + "".join(f":KUBE-{chain} -\n" for chain in chains)
        + "".join(f"-A {rule}\n" for rule in rules)
        + "COMMIT\n"
    )


def _chain(name: str, *lines: str) -> str:
    return f"chain {name} {{\n" + "".join(f"{line}\n" for line in lines) + "}\n"


def _verdicts(name: str, kind: str, elements: list[str]) -> str:
    listed = ",\n".join(elements)
    return f"map {name} {{\ntype {kind} : verdict\nelements = {{ {listed} }}\n}}\n"


def _nftables(services: tuple[Service, ...], pods: str) -> str:
    family = "ip6" if ":" in pods else "ip"
    address = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}[family]
    ips, ports, chains = [], [], []
    for service in services:
        svc, ext = f"service-{service.name}", f"external-{service.name}"
        to = f"tcp . {service.port}"
        ips.append(f"{service.cluster_ip} . {to} : goto {svc}")
        ips.append(f"{service.external_ip} . {to} : goto {ext}")
        ports.append(f"tcp . {service.node_port} : goto {ext}")
        ends = {f"endpoint-{service.name}-{n}": end for n, end in enumerate(service.endpoints)}
        for name, (host, port) in ends.items():
            dnat = f"meta l4proto tcp dnat to {show((host, port))}"
            chains.append(_chain(name, f"{family} saddr {host} jump mark-for-masquerade", dnat))
        picks = ", ".join(f"{number} : goto {name}" for number, name in enumerate(ends))
        chains += [
            _chain(
                svc,
                f"{family} daddr {service.cluster_ip} tcp dport {service.port} "
                f"{family} saddr != {pods} jump mark-for-masquerade",
                f"numgen random mod {len(ends)} vmap {{ {picks} }}",
            ),
            _chain(ext, "jump mark-for-masquerade", f"goto {svc}"),
        ]
    return (
        f"table {family} kube-proxy {{\n"
        + _chain("mark-for-masquerade", f"meta mark set meta mark or {MASQUERADE}")
        + _chain(
            "masquerading",
            f"meta mark and {MASQUERADE} == 0 return",
            f"meta mark set meta mark xor {MASQUERADE}",
            "masquerade fully-random",
        )
        + "".join(chains)
        + _verdicts("service-ips", f"{address} . inet_proto . inet_service", ips)
        + _verdicts("service-nodeports", "inet_proto . inet_service", ports)
        + _chain(
            "services",
            f"{family} daddr . meta l4proto . th dport vmap @service-ips",
            "fib daddr type local meta l4proto . th dport vmap @service-nodeports",
        )
        + _chain("nat-prerouting", "type nat hook prerouting priority dstnat;", "jump services")
        + _chain("nat-output", "type nat hook output priority -100;", "jump services")
        + _chain(
            "nat-postrouting", "type nat hook postrouting priority srcnat;", "jump masquerading"
        )
        + "}\n"
    )


def _restore(node: Node, version: int, text: str) -> None:
    command = {4: "iptables-nft-restore", 6: "ip6tables-nft-restore"}[version]
    node.run([command], text_in=text)


def _load(node: Node, _: int, text: str) -> None:
    node.nft(text)


Rules = Callable[[tuple[Service, ...], str], str]
MODES: dict[str, tuple[Rules, Callable[[Node, int, str], None]]] = {
    "iptables": (_iptables, _restore),
    "nftables": (_nftables, _load),
}


def install(mode: str, node: Node, services: tuple[Service, ...], pods: str) -> None:
    """Load the rules of the services, which are of one IP version, on a node.

    `pods` is the network of all pods of the cluster.
    """
    rules, load = MODES[mode]
    load(node, 6 if ":" in pods else 4, rules(services, pods))
