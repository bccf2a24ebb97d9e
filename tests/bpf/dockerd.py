# SPDX-License-Identifier: MIT
"""The shape of Docker's rules for one network with one container.

Its backend iptables as of Docker 28, nftables as of 29.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.lab import Node, show

LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}


@dataclass(frozen=True)
class Published:
    """`docker run -p HOST_IP:HOST_PORT:PORT`; without `host_ip` on all addresses of the host."""

    host_port: int
    port: int
    host_ip: str = ""


@dataclass(frozen=True)
class Network:
    """A network of one container, on one IP version. `proxy`: the userland proxy is on."""

    bridge: str
    subnet: str
    container: str
    published: tuple[Published, ...]
    proxy: bool = True

    @property
    def version(self) -> int:
        return 6 if ":" in self.container else 4


def _table(name: str, chains: Iterable[str], rules: Iterable[str]) -> str:
    lines = [f"*{name}", *(f":{chain}" for chain in chains), *(f"-A {rule}" for rule in rules)]
    return "\n".join([*lines, "COMMIT\n"])


def _iptables(network: Network) -> str:
    bridge, container, subnet = network.bridge, network.container, network.subnet
    ports = {each.port for each in network.published}
    local = f"! -d {LOOPBACK[network.version]} " if network.proxy else ""
    outside = f"! -i {bridge} " if network.proxy else ""
    nat = [
        "PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        f"OUTPUT {local}-m addrtype --dst-type LOCAL -j DOCKER",
        f"POSTROUTING -s {subnet} ! -o {bridge} -j MASQUERADE",
    ]
    if not network.proxy:
        nat.append(f"POSTROUTING -o {bridge} -m addrtype --src-type LOCAL -j MASQUERADE")
        for port in ports:
            own = f"POSTROUTING -s {container} -d {container} -p tcp -m tcp --dport {port}"
            nat.append(f"{own} -j MASQUERADE")
    for each in network.published:
        dialled = f"-d {each.host_ip} " if each.host_ip else ""
        to = show((container, each.port))
        match = f"{dialled}{outside}-p tcp -m tcp --dport {each.host_port}"
        nat.append(f"DOCKER {match} -j DNAT --to-destination {to}")
    chains = ("DOCKER", "DOCKER-USER", "DOCKER-FORWARD", "DOCKER-CT", "DOCKER-BRIDGE")
    inward = f"DOCKER ! -i {bridge} -o {bridge}"
    forward = [
        "FORWARD -j DOCKER-USER",
        "FORWARD -j DOCKER-FORWARD",
        "DOCKER-FORWARD -j DOCKER-CT",
        "DOCKER-FORWARD -j DOCKER-BRIDGE",
        f"DOCKER-FORWARD -i {bridge} -j ACCEPT",
        f"DOCKER-CT -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"DOCKER-BRIDGE -o {bridge} -j DOCKER",
        *(f"{inward} -d {container} -p tcp -m tcp --dport {port} -j ACCEPT" for port in ports),
        f"{inward} -j DROP",
    ]
    direct = f"PREROUTING -d {container} ! -i {bridge} -j DROP"
    return (
        _table("raw", ["PREROUTING ACCEPT"], [direct])
        + _table("filter", ["FORWARD DROP", *(f"{chain} -" for chain in chains)], forward)
        + _table("nat", ["DOCKER -"], nat)
    )


def _chain(name: str, *lines: str) -> str:
    return f"chain {name} {{\n" + "".join(f"{line}\n" for line in lines) + "}\n"


def _nftables(network: Network) -> str:
    bridge, container = network.bridge, network.container
    family = "ip6" if network.version == 6 else "ip"
    inward, outward = f"in__{bridge}", f"out__{bridge}"
    local = f"{family} daddr != {LOOPBACK[network.version]} " if network.proxy else ""
    outside = f'iifname != "{bridge}" ' if network.proxy else ""
    ports = {each.port for each in network.published}
    translate = [
        f"{f'{family} daddr {each.host_ip} ' if each.host_ip else ''}{outside}"
        f"tcp dport {each.host_port} counter dnat to {show((container, each.port))}"
        for each in network.published
    ]
    hidden = [] if network.proxy else ["fib saddr type local counter masquerade"]
    if not network.proxy:
        own = f"{family} saddr {container} {family} daddr {container}"
        hidden += [f"{own} tcp dport {port} counter masquerade" for port in ports]

    def jumps(name: str, chain: str) -> str:
        element = f'"{bridge}" : jump {chain}'
        return f"map {name} {{\ntype ifname : verdict\nelements = {{ {element} }}\n}}\n"

    return (
        f"table {family} docker-bridges {{\n"
        + _chain(
            f"filter-forward-{inward}",
            "ct state established,related counter accept",
            f'iifname "{bridge}" counter accept',
            *(f"{family} daddr {container} tcp dport {port} counter accept" for port in ports),
            "counter drop",
        )
        + _chain(
            f"filter-forward-{outward}",
            "ct state established,related counter accept",
            "counter accept",
        )
        + _chain(f"nat-postrouting-{inward}", *hidden)
        + _chain(
            f"nat-postrouting-{outward}",
            f'oifname != "{bridge}" {family} saddr {network.subnet} counter masquerade',
        )
        + jumps("filter-forward-in-jumps", f"filter-forward-{inward}")
        + jumps("filter-forward-out-jumps", f"filter-forward-{outward}")
        + jumps("nat-postrouting-in-jumps", f"nat-postrouting-{inward}")
        + jumps("nat-postrouting-out-jumps", f"nat-postrouting-{outward}")
        + _chain("nat-prerouting-and-output", *translate)
        + _chain(
            "filter-FORWARD",
            "type filter hook forward priority filter; policy accept;",
            "oifname vmap @filter-forward-in-jumps",
            "iifname vmap @filter-forward-out-jumps",
        )
        + _chain(
            "nat-OUTPUT",
            "type nat hook output priority -100; policy accept;",
            f"{local}fib daddr type local counter jump nat-prerouting-and-output",
        )
        + _chain(
            "nat-POSTROUTING",
            "type nat hook postrouting priority srcnat; policy accept;",
            "iifname vmap @nat-postrouting-out-jumps",
            "oifname vmap @nat-postrouting-in-jumps",
        )
        + _chain(
            "nat-PREROUTING",
            "type nat hook prerouting priority dstnat; policy accept;",
            "fib daddr type local counter jump nat-prerouting-and-output",
        )
        + _chain(
            "raw-PREROUTING",
            "type filter hook prerouting priority raw; policy accept;",
            f'{family} daddr {container} iifname != "{bridge}" counter drop',
        )
        + "}\n"
    )


BACKENDS: dict[str, Callable[[Network], str]] = {"iptables": _iptables, "nftables": _nftables}


def install(backend: str, node: Node, network: Network) -> None:
    """Load the rules on a host."""
    text = BACKENDS[backend](network)
    if backend == "nftables":
        node.nft(text)
    else:
        tool = "ip6tables" if network.version == 6 else "iptables"
        node.run([f"{tool}-nft-restore"], text_in=text)
