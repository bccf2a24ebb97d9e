# SPDX-License-Identifier: MIT
"""Other devices than a veth between gateway and server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from ctwsgi.ebpf.injector import Injector, Wanted
from ctwsgi.ebpf.structs import Selection, Settings

from .case import Trial
from .injector import MARK, Ebpf
from .judge import require
from .loads import CLOSE, SERVER_FIRST, SMALL, parallel, upload
from .named import named
from .net import CommandError
from .places import PORT, ROUTED, SERVER, Place

NETWORK = {4: "10.63.7.", 6: "fd63:7::"}

LOADS = (SMALL, CLOSE, SERVER_FIRST, upload("300k", 300_000, 100), parallel(20))

SIDES = (("gateway", "gs", 1), ("server", "s0", 2))
"""Namespace, the device below, and the last part of the address."""

WG_PORT = 51820


@contextmanager
def _made(trial: Trial, device: str) -> Iterator[None]:
    """Removes at its end the devices that are made in the `with`."""
    try:
        yield
    finally:
        for name, _, _ in SIDES:
            with suppress(CommandError):
                trial.lab.spaces[name].run("ip", "link", "del", device)


@contextmanager
def crossing(trial: Trial, device: str) -> Iterator[Place]:
    """The place, with a listener that is reached by `device`, which exists on both sides."""
    version = trial.place.version
    net, length, family = (NETWORK[version], *((24, "ip") if version == 4 else (64, "ip6")))
    flags = ["nodad"] if version == 6 else []
    for name, _, own in SIDES:
        space = trial.lab.spaces[name]
        space.run("ip", "addr", "add", f"{net}{own}/{length}", "dev", device, *flags)
        space.run("ip", "link", "set", device, "up")
    # Replies must come back by the same device, where the program is.
    clients = "10.61.1.0/24" if version == 4 else "fd61:1::/64"
    trial.lab.server.run("ip", "route", "add", clients, "via", f"{net}1", "dev", device)
    target = f"{net}2"
    to = f"{target}:{PORT}" if version == 4 else f"[{target}]:{PORT}"
    dialled = ", ".join(map(trial.place.network, (True, False)))
    trial.gateway.nft(
        "table inet crossing {\nchain pre {\ntype nat hook prerouting priority dstnat - 5;\n"
        f"meta l4proto tcp {family} daddr {{ {dialled} }} dnat {family} to {to}\n"
        "}\n}\n"
    )
    try:
        yield replace(trial.place, target=target)
    finally:
        trial.gateway.nft("delete table inet crossing\n")


@contextmanager
def attached(trial: Trial, device: str) -> Iterator[Callable[[], dict[str, int]]]:
    """Attaches the program to `device`, and yields what reads its counters. It must drop nothing.

    A module's rule selects on any device, so there is nothing to attach.
    """
    if not isinstance(trial.injector, Ebpf):
        yield trial.risen
        return
    trial.injector.unload(trial.gateway)
    try:
        with trial.gateway.entered():
            injector = Injector(device)
            injector.attach(Wanted(Settings(selection=Selection.MARK, mark=MARK, mask=MARK)))
        yield injector.counters
        dropped = {n: c for n, c in injector.counters().items() if c and n.startswith("drop_")}
        require(not dropped, f"the program dropped: {dropped}")
    finally:
        with trial.gateway.entered():
            injector.detach()
        trial.injector.load(trial.gateway)
        trial.before = trial.counters()


async def _over(trial: Trial, device: str) -> None:
    """Attaches the program to `device`, which exists on both sides, and holds conversations."""
    with crossing(trial, device) as place, attached(trial, device) as counters:
        for load in LOADS:
            await trial.talk(load, place=place)
        headers = counters()["ctproxy_headers"]
        require(headers == trial.connections, f"{headers} headers on {trial.connections}")


@named("devices", "gateway", "gateway6", injectors=("ebpf",))
async def vlan(trial: Trial) -> None:
    """The program is on a VLAN device, where the tag is metadata of the packets."""
    with _made(trial, "vlan7"):
        for name, below, _ in SIDES:
            words = ("link", below, "type", "vlan", "id", "7")
            trial.lab.spaces[name].run("ip", "link", "add", "vlan7", *words)
        await _over(trial, "vlan7")


@named("devices", "gateway", "gateway6", injectors=("ebpf",))
async def wireguard(trial: Trial) -> None:
    """The program is on a tunnel, whose packets have no link-layer header."""
    server, gateway = trial.lab.server, trial.lab.gateway
    secrets = {name: gateway.run("wg", "genkey") for name, _, _ in SIDES}
    public = {name: gateway.run("wg", "pubkey", text=key).strip() for name, key in secrets.items()}
    with _made(trial, "wg7"):
        for space, other, host in ((gateway, "server", SERVER[4]), (server, "gateway", ROUTED[4])):
            space.run("ip", "link", "add", "wg7", "type", "wireguard")
            space.run(
                *("wg", "set", "wg7", "listen-port", str(WG_PORT)),
                *("private-key", "/proc/self/fd/0"),
                *("peer", public[other], "allowed-ips", "0.0.0.0/0,::/0"),
                *("endpoint", f"{host}:{WG_PORT}"),
                text=secrets[space.name],
            )
        await _over(trial, "wg7")
