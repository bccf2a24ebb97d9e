# SPDX-License-Identifier: MIT
"""A cluster of two nodes with one pod each, and a client outside; kube-proxy's rules on both nodes.

    client ── lan ──┬── node1 ── near
                    └── node2 ── far

The client and the other node are behind the same device of a node, `lan`. A node reaches its pod by
a bridge or by a device of the pod's own, and the other node's pod by the device `lan` or by VXLAN.
"""

from __future__ import annotations

import json
import sys
from ipaddress import ip_interface
from typing import Any, NamedTuple

from tests import ROOT
from tests.lab import Host, Lab, Node, Topology, Wire, show

from .bridge import CALLS, bridged, pass_through_ip
from .gateway import command
from .keys import KEYS, key_file
from .kubeproxy import Service, install
from .nginx import HEAD

NODES = {"node1": "near", "node2": "far"}
"""The pod of each node."""

TOPOLOGY = Topology(
    hosts=(
        Host("lan", forwards=True),
        Host("client", default="lan"),
        *(Host(node, forwards=True, default="lan") for node in NODES),
        *(Host(pod, default=node) for node, pod in NODES.items()),
    ),
    wires=(
        Wire("lan", "client"),
        *(Wire("lan", node) for node in NODES),
        *(Wire(node, pod) for node, pod in NODES.items()),
    ),
)

PODS = {4: "10.77.4.0/23", 6: "fd77:0:0:4::/63"}
CLUSTER_IP = {4: "10.96.0.80", 6: "fd00:96::80"}
EXTERNAL_IP = {4: "203.0.113.10", 6: "2001:db8:80::10"}


class Server(NamedTuple):
    """What a pod runs, at the ports of its service."""

    port: int
    node_port: int
    target: int


SERVERS = {"ctwsgi": Server(80, 30080, 8080), "nginx": Server(81, 30081, 8081)}

MARK = "0x1000000/0x1000000"

NGINX = (
    HEAD
    + """    server {{
        listen {v4}:{port} proxy_protocol; listen [{v6}]:{port} proxy_protocol;
        location / {{
            set $src '["$proxy_protocol_addr", $proxy_protocol_port]';
            set $dst '["$proxy_protocol_server_addr", $proxy_protocol_server_port]';
            return 200 '{{"pod": "{pod}", "src": $src, "dst": $dst, "peer": "$remote_addr"}}';
        }}
    }}
}}
"""
)


class Visit(NamedTuple):
    """What the application knows, and the port that the client had."""

    knows: dict[str, Any]
    client_port: int


class Cluster:
    """The lab. `devices` are, on each node, those that lead to its pod and to the other node's."""

    def __init__(self, mode: str, *, bridge: bool, vxlan: bool) -> None:
        self._mode = mode
        self._bridge, self._vxlan = bridge, vxlan
        self.lab = Lab(TOPOLOGY)
        self._attached: list[tuple[Node, str]] = []

    def __enter__(self) -> Cluster:
        self.lab.__enter__()
        try:
            self._connect()
            self._serve()
        except BaseException:
            self.lab.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            for node, device in self._attached:
                command(node, "detach", device, check=False)
        finally:
            self.lab.__exit__(*error)

    def node(self, name: str) -> Node:
        node: Node = getattr(self.lab, name)
        return node

    def devices(self, node: str) -> tuple[str, str]:
        return "cni0" if self._bridge else NODES[node], "vxlan0" if self._vxlan else "lan"

    def attach(self, selection: str) -> None:
        """Attach the program to all devices, then load the rules that mark connections."""
        for name in NODES:
            for device in self.devices(name):
                options = ["--mark", MARK, "--auth-key-file", str(self._keys)]
                if device == "lan":
                    options.append("--one-armed")
                command(self.node(name), "attach", device, *options)
                self._attached.append((self.node(name), device))
            self.node(name).nft(selection)

    def counters(self, node: str) -> list[dict[str, int]]:
        """The counters of each of its devices that are not zero."""
        status = command(self.node(node), "status", *self.devices(node), "--json").stdout
        return [{k: n for k, n in each["counters"].items() if n} for each in json.loads(status)]

    def visit(self, source: str, address: tuple[str, int]) -> Visit:
        """Make one request from a host."""
        shown = ["-w", r"\n%{local_port}", f"http://{show(address)}/"]
        curl = ["curl", "-sS", "-g", "--noproxy", "*", "--max-time", "20", *shown]
        knows, port = self.node(source).run(curl).stdout.rsplit("\n", 1)
        return Visit(json.loads(knows), int(port))

    def _connect(self) -> None:
        lan, ends = self.node("lan"), self._ends()
        for version, flag in ((4, "-4"), (6, "-6")):
            node1 = self.node("node1").address(version)
            lan.ip(flag, "route", "add", EXTERNAL_IP[version], "via", node1)
            for name, pod in NODES.items():
                (other,) = (node for node in NODES if node != name)
                host = f"{self.node(pod).address(version)}/{24 if version == 4 else 64}"
                network = str(ip_interface(host).network)
                lan.ip(flag, "route", "add", network, "via", self.node(name).address(version))
                if self._vxlan:
                    via = ends[name][version]
                    self.node(other).ip(flag, "route", "add", network, "via", via)
                services = self._services(version)
                install(self._mode, self.node(name), services, PODS[version])

    def _ends(self) -> dict[str, dict[int, str]]:
        """Make the bridges and tunnels. Returns the nodes' addresses in the tunnel."""
        ends = {name: {4: f"10.78.0.{n}", 6: f"fd78::{n}"} for n, name in enumerate(NODES, 1)}
        for name, pod in NODES.items():
            node = self.node(name)
            (other,) = (each for each in NODES if each != name)
            if self._bridge:
                bridged(node, "cni0", pod)
                if CALLS.exists():
                    pass_through_ip(node, 1)  # what kubelet wants
            if self._vxlan:
                tunnel = ["remote", self.node(other).address(), "local", node.address()]
                kind = ["type", "vxlan", "id", "1", "dstport", "8472", "dev", "lan"]
                node.ip("link", "add", "vxlan0", *kind, *tunnel)
                node.ip("addr", "add", f"{ends[name][4]}/24", "dev", "vxlan0")
                node.ip("addr", "add", f"{ends[name][6]}/64", "dev", "vxlan0", "nodad")
                node.ip("link", "set", "vxlan0", "up")
        return ends

    def _services(self, version: int) -> tuple[Service, ...]:
        hosts = [self.node(pod).address(version) for pod in NODES.values()]
        return tuple(
            Service(
                name=name.upper(),
                cluster_ip=CLUSTER_IP[version],
                external_ip=EXTERNAL_IP[version],
                port=server.port,
                node_port=server.node_port,
                endpoints=tuple((host, server.target) for host in hosts),
            )
            for name, server in SERVERS.items()
        )

    def _serve(self) -> None:
        self._keys = key_file(self.lab.scratch / "keys", KEYS[7])
        for pod in NODES.values():
            node = self.node(pod)
            v4, v6 = node.address(4), node.address(6)
            port = SERVERS["ctwsgi"].target
            serve = [sys.executable, "-m", "ctwsgi", "serve", "tests.bpf.pod:app"]
            serve += ["--bind", f"[::]:{port}", "--source", "proxy", "--trust", "inline"]
            serve += ["--auth-key-file", str(self._keys)]
            ctwsgi = node.popen(serve, env={"PYTHONPATH": str(ROOT), "POD": pod})
            folder = self.lab.scratch / pod
            folder.mkdir()
            target = SERVERS["nginx"].target
            config = NGINX.format(folder=folder, v4=v4, v6=v6, port=target, pod=pod)
            (folder / "nginx.conf").write_text(config)
            nginx = node.popen(["nginx", "-c", str(folder / "nginx.conf")])
            ctwsgi.wait_listening(port)
            nginx.wait_listening(target)
