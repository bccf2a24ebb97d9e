# SPDX-License-Identifier: MIT
"""A client namespace and a gateway namespace with a veth pair between them, and a REDIRECT rule.

    client 198.18.0.2, 2001:db8::2 --- 198.18.0.1, 2001:db8::1 gateway (relay, upstream)

The client dials addresses that exist nowhere.
"""

from __future__ import annotations

import ipaddress
import os
import random
import subprocess
from contextlib import AbstractContextManager, ExitStack

from tests.namespaces import entered, named

CLIENT, GATEWAY = "198.18.0.2", "198.18.0.1"
CLIENT_V6, GATEWAY_V6 = "2001:db8::2", "2001:db8::1"


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Namespace:
    """A network namespace that is made at once, with its loopback up, and stays until remove()."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)

    def nft(self, rules: str) -> None:
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", stdin=rules)

    def remove(self) -> None:
        run("ip", "netns", "del", self.name)

    def inside(self) -> AbstractContextManager[None]:
        """In the `with`, this thread and the processes that it starts are in the namespace."""
        return entered(named(self.name))


class Link:
    """The two namespaces and the veth pair between them."""

    def __init__(self, stack: ExitStack) -> None:
        mark = f"ctr{os.getpid()}"
        self.client = self._namespace(stack, f"{mark}c")
        self.gateway = self._namespace(stack, f"{mark}g")
        self.client.ip("link", "add", "near", "type", "veth", "peer", "far", "netns", f"{mark}g")
        for ns, device, v4, v6 in (
            (self.client, "near", CLIENT, CLIENT_V6),
            (self.gateway, "far", GATEWAY, GATEWAY_V6),
        ):
            ns.ip("addr", "add", f"{v4}/24", "dev", device)
            ns.ip("addr", "add", f"{v6}/64", "dev", device, "nodad")
            ns.ip("link", "set", device, "up")
        self.client.ip("route", "add", "default", "via", GATEWAY)
        self.client.ip("-6", "route", "add", "default", "via", GATEWAY_V6)
        # Without a route to the dialled addresses, the gateway does not answer in their name.
        self.gateway.ip("route", "add", "default", "via", CLIENT)
        self.gateway.ip("-6", "route", "add", "default", "via", CLIENT_V6)

    def _namespace(self, stack: ExitStack, name: str) -> Namespace:
        ns = Namespace(name)
        stack.callback(ns.remove)
        return ns

    def redirect(self, port: int, chain: str = "prerouting", match: str = 'iifname "far"') -> None:
        self.gateway.nft(
            f"""
            table inet relay {{
                chain nat_{chain} {{
                    type nat hook {chain} priority -100;
                    {match} meta l4proto tcp redirect to :{port}
                }}
            }}
            """
        )

    def clear(self) -> None:
        self.gateway.nft("flush ruleset")


def somewhere() -> tuple[str, int]:
    """An address that exists nowhere, outside the gateway's own network, and a port."""
    return f"198.19.{random.randrange(256)}.{random.randrange(256)}", random.randrange(1, 65536)


def somewhere_v6() -> tuple[str, int]:
    host = int(ipaddress.IPv6Address("2001:db8:1::")) + random.getrandbits(64)
    return str(ipaddress.IPv6Address(host)), random.randrange(1, 65536)
