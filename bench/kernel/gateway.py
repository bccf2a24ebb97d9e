# SPDX-License-Identifier: MIT
"""Three namespaces in a row, and the setup of the gateway for each side.

    client 10.62.1.2 ──── 10.62.1.1 gateway 10.62.2.1 ──── 10.62.2.2 server

The client dials 198.18.0.x:80, which no host has. The gateway translates it to a port of the
server, by x: see SERVICES and NGINX.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ctypes import CDLL
from pathlib import Path
from types import MappingProxyType

from ctwsgi.ebpf import libbpf
from ctwsgi.ebpf.host import find_device
from ctwsgi.ebpf.injector import Injector, Wanted
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.proxy_v2 import encode_v2
from tests.kernel.guest.kernel import flush_conntrack
from tests.kernel.guest.net import CommandError, Namespace

from .plan import EBPF, HAPROXY, Side

CLIENT, SERVER = "10.62.1.2", "10.62.2.2"

OWN_PORT, OTHERS_PORT = 80, 79
"""Ports of the measured connections, and of another one that uses the module (Side.beside)."""

SERVICES = MappingProxyType({"198.18.0.1": 8080, "198.18.0.2": 8081})
"""The dialled address, and the port of server.c that it is translated to."""

NGINX = "198.18.0.4"
NGINX_PORTS = MappingProxyType({"none": 8091, "ctframe": 8091, "proxy": 8090})
"""The dialled address for nginx, and nginx' port by what a side writes."""

FLOWS_TO, FLOWS_SERVER, FLOWS_FROM = "198.18.0.3", "10.62.2.3", "10.62.64.0/24"
"""The same as in crowd.c."""

HAPROXY_PORTS = MappingProxyType({8080: 7080, 8081: 7081, 8090: 7090})

TCX = MappingProxyType({46: "ingress", 47: "egress"})
"""enum bpf_attach_type: BPF_TCX_INGRESS, BPF_TCX_EGRESS."""

KEY = "1 " + "5a" * 32 + "\n"

HAPROXY_CONFIGURATION = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
""" + "".join(
    f"listen to{port}\n    bind :{own}\n    server one {SERVER}:{port} send-proxy-v2\n"
    for port, own in HAPROXY_PORTS.items()
)


NGINX_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 8091;
        location / {{ return 200 "none"; }}
    }}
    server {{
        listen 8090 proxy_protocol;
        location / {{
            return 200 "$proxy_protocol_addr $proxy_protocol_server_addr";
        }}
    }}
}}
"""


def rules(side: Side) -> str:
    """The nft table of a side."""
    helper = select = ""
    if side.helper or side.beside:
        kind, port = (side.helper, OWN_PORT) if side.helper else ("ctframe", OTHERS_PORT)
        helper = f'  ct helper origin {{\n    type "{kind}" protocol tcp;\n  }}\n'
        select = f'    tcp dport {port} ct helper set "origin"\n'
    apart = f"  chain select {{\n    type filter hook prerouting priority mangle;\n{select}  }}\n"
    translate = "" if side.apart else select
    translate += f"    tcp dport {OTHERS_PORT} dnat to {SERVER}:8081\n"
    translate += f"    ip daddr {FLOWS_TO} tcp dport {OWN_PORT} dnat to {FLOWS_SERVER}:8080\n"
    for dialled, port in {**SERVICES, NGINX: NGINX_PORTS[side.writes]}.items():
        to = f"dnat to {SERVER}:{port}"
        if side.name == HAPROXY:
            to = f"redirect to :{HAPROXY_PORTS[port]}"
        translate += f"    ip daddr {dialled} tcp dport {OWN_PORT} {to}\n"
    return (
        f"table ip origin {{\n{helper}{apart if side.apart else ''}"
        "  chain translate {\n    type nat hook prerouting priority dstnat;\n"
        f"{translate}  }}\n}}\n"
    )


def header(dialled: str) -> tuple[str]:
    """A PROXY v2 header in hex, as the module writes it except for the client's port."""
    return (encode_v2((CLIENT, OWN_PORT), (dialled, OWN_PORT)).hex(),)


class Row:
    """The three namespaces, with links and routes."""

    def __init__(self) -> None:
        self.client, self.gateway, self.server = map(Namespace, ("client", "gateway", "server"))
        self._wire(1, self.client, "c0", "gc")
        self._wire(2, self.server, "s0", "gs")
        ports = {"net.ipv4.ip_local_port_range": "10000 60999"}
        self.client.sysctl(ports)
        self.gateway.sysctl({**ports, "net.ipv4.ip_forward": 1})
        self._crowds_way()

    def _wire(self, number: int, end: Namespace, device: str, gateway: str) -> None:
        net = f"10.62.{number}"
        self.gateway.batch(
            "ip",
            f"link add {gateway} type veth peer name {device} netns {end.path}",
            f"addr add {net}.1/24 dev {gateway}",
            f"link set {gateway} up",
        )
        end.batch(
            "ip",
            f"addr add {net}.2/24 dev {device}",
            f"link set {device} up",
            f"route add default via {net}.1",
        )

    def _crowds_way(self) -> None:
        """Routes for crowd.c, whose addresses no host has, to both ends."""
        self.gateway.run("ip", "route", "add", FLOWS_FROM, "via", CLIENT)
        (link,) = json.loads(self.server.run("ip", "-j", "link", "show", "s0"))
        self.gateway.run(
            *("ip", "neigh", "add", FLOWS_SERVER, "lladdr", link["address"]),
            *("dev", "gs", "nud", "permanent"),
        )

    def big_segments(self, on: bool) -> None:
        """Switch segmentation offload of all devices on or off."""
        for space, device in (
            (self.client, "c0"),
            (self.gateway, "gc"),
            (self.gateway, "gs"),
            (self.server, "s0"),
        ):
            space.offloads(device, {"gso": on, "tso": on, "gro": False})

    def delay(self, each_way: str) -> None:
        """Delay every packet on the server's wire; empty: do not."""
        for space, device in ((self.gateway, "gs"), (self.server, "s0")):
            qdisc = ["qdisc", "replace", "dev", device, "root"]
            space.run("tc", *qdisc, *(["netem", "delay", each_way] if each_way else ["noqueue"]))

    def packets(self) -> dict[str, int]:
        """The number of packets that the gateway has received, by device."""
        lines = (line.split() for line in self.gateway.proc("dev").splitlines())
        return {words[0][:2]: int(words[2]) for words in lines if words[0] in ("gc:", "gs:")}

    def program_counters(self) -> dict[str, int]:
        """The counters of the eBPF program on the device to the server."""
        with self.gateway.entered():
            return Injector("gs").counters()

    def counters(self) -> dict[str, int]:
        """/proc/net/ctinject of the gateway; empty without module."""
        try:
            pairs = (line.split() for line in self.gateway.proc("ctinject").splitlines())
            return {name: int(value) for name, value in pairs}
        except FileNotFoundError:
            return {}


def start(space: Namespace, *command: str) -> subprocess.Popen[str]:
    """Start a process in the namespace."""
    with space.entered():
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )


def answers(space: Namespace, port: int) -> bool:
    """Whether a server listens on the port."""
    with space.entered(), socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def set_up(side: Side, row: Row, module: Path | None, programs: Path) -> Iterator[None]:
    """Set up the gateway for a side during the `with` block, with a freshly loaded module."""
    if side.module:
        subprocess.run(["insmod", str(module)], check=True)
    try:
        if side.signed and not side.ebpf:
            row.gateway.write_proc("ctinject_keys", KEY)
        row.gateway.nft(rules(side))
        with _used(side, row, programs):
            if side.flows:
                crowd(side, row, programs)
            yield
    finally:
        # Without the rules, which keep the module in use.
        row.gateway.nft("table ip origin\ndelete table ip origin\n")
        if side.flows:
            flush_conntrack(row.gateway)
        if side.module:
            subprocess.run(["rmmod", "ctinject"], check=True)


def _used(side: Side, row: Row, programs: Path) -> AbstractContextManager[None]:
    if side.beside:
        return _others(row)
    if side.ebpf == EBPF:
        return _ebpf(side, row)
    return _floor(side.ebpf, row, programs) if side.ebpf else nullcontext()


def crowd(side: Side, row: Row, programs: Path) -> None:
    """Open `side.flows` connections that stay open. CommandError unless each has its header."""
    words = map(str, (row.client.path, row.server.path, side.flows))
    done = subprocess.run([programs / "crowd", "flows", *words], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    wanted = {"opened": side.flows, "headers": side.flows if side.ebpf else 0}
    if not found.items() >= wanted.items():
        raise CommandError(f"{side.name}: {found} instead of {wanted}")


@contextmanager
def _floor(name: str, row: Row, programs: Path) -> Iterator[None]:
    with libbpf.Object(programs / "floor.bpf.o") as floor:
        floor.load()
        with row.gateway.entered():
            undo = _attach_by_tcx(floor) if name == "tcx" else _attach_by_tc(floor, name)
        try:
            yield
        finally:
            with row.gateway.entered():
                undo()


def _attach_by_tc(floor: libbpf.Object, name: str) -> Callable[[], None]:
    """Attach as the injector does; returns the function that detaches."""
    hooks = libbpf.Hooks(find_device("gs").index)
    hooks.create()
    for point, way in ((libbpf.EGRESS, "egress"), (libbpf.INGRESS, "ingress")):
        hooks.attach(point, floor.program(f"{name}_{way}"))
    return hooks.destroy


def _attach_by_tcx(floor: libbpf.Object) -> Callable[[], None]:
    library, device = CDLL("libbpf.so.1"), find_device("gs").index
    programs = {kind: floor.program(f"nothing_{way}") for kind, way in TCX.items()}
    for kind, program in programs.items():
        if library.bpf_prog_attach(program, device, kind, 0):
            raise CommandError("tcx needs Linux 6.6")

    def undo() -> None:
        for kind, program in programs.items():
            library.bpf_prog_detach2(program, device, kind)

    return undo


@contextmanager
def _ebpf(side: Side, row: Row) -> Iterator[None]:
    key = KeyRing.parse(KEY).signer() if side.signed else None
    with row.gateway.entered():
        injector = Injector("gs")
        injector.attach(Wanted(key=key))
    try:
        yield
    finally:
        with row.gateway.entered():
            injector.detach()


@contextmanager
def _others(row: Row) -> Iterator[None]:
    """Keep a connection in the module's table open, without data."""
    with row.client.entered(), socket.create_connection(("198.18.0.1", OTHERS_PORT)) as other:
        other.sendall(b"here")
        yield
    if not row.counters().get("flows"):
        raise CommandError("the module has no flow of the other connection")
