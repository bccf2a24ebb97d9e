# SPDX-License-Identifier: MIT
"""The captive portal in the lab: one gateway with portal and agent, a client, and an internet.

    client ---- gateway ---- server
                nft, agent,  the internet: every NOWHERE address answers here
                portal

`python -m tests.lab.portal` (make portal) starts it and waits. The demo and the browser tests use
it as well.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests import ROOT

from .command import kill
from .ending import Ended, end_in_order, undisturbed
from .lab import Lab
from .node import Node
from .port import listener
from .process import Process
from .requirements import LabError
from .topology import NOWHERE, show

INTERNET = {4: "198.18.7.7", 6: "2001:db8::7:7"}
"""The addresses of the internet that also answer datagrams."""
TABLE = "ctwsgi_portal"
REDIRECTED, OWN, RELAY = 8080, 8081, 9000
PASSWORD = "correct horse"

CONFIG = """
[portal]
name = "{name}"
url = "{url}"
store = "{store}"
secret_file = "{scratch}/secret"
workers = 1
own = {own}
[terms]
en = "Be kind to each other.\\n\\nThis network belongs to a laboratory: nothing of it is real."
zh = "请友善待人。\\n\\n本网络属于实验室。"
[listen.redirected]
bind = "[::]:{redirected}"
{source}
[listen.portal]
bind = "[::]:{own_port}"
{listen}
[access]
methods = {methods}
lifetime = "2h"
{access}
[[networks]]
name = "guests"
interfaces = ["client"]
addresses = ["10.77.1.0/24", "fd77:0:0:1::/64"]
{networks}
[gateway]
name = "gateway-1"
report_every = "{report}"
{gateway}
[users]
alice = "{password_hash}"
"""


def become_internet(node: Node) -> Process:
    """Makes every NOWHERE address an address of the node, and starts servers at them."""
    for version in (4, 6):
        node.ip(f"-{version}", "route", "add", "local", str(NOWHERE[version]), "dev", "lo")
        node.ip("addr", "add", INTERNET[version], "dev", "lo")
    process = node.popen([sys.executable, str(Path(__file__).with_name("internet.py"))])
    process.wait_log("ready")
    return process


class PortalLab:
    """A portal's configuration and processes. `version` is the IP version of the portal's own URL.

    With `remote` the portal is on the server. A relay on the gateway writes the origin, or the
    kernel module if `helper` names one of its helpers.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        version: int = 4,
        methods: tuple[str, ...] = ("click",),
        remote: bool = False,
        helper: str = "",
        **places: str,
    ) -> None:
        self.lab = lab
        self._relayed = remote and not helper
        self._node = lab.server if remote else lab.gateway
        peer = "gateway" if remote else "client"
        host = self._node.address(version, peer)
        self.url = f"http://{host if version == 4 else f'[{host}]'}:{OWN}"
        other = self._node.address(10 - version, peer)
        self.store_url = places.pop("store", f"sqlite:{lab.scratch}/portal.db")
        self.config = lab.scratch / "portal.toml"
        secret = lab.scratch / "secret"
        secret.write_text(secrets.token_hex(32))
        secret.chmod(0o600)
        empty = dict.fromkeys(("listen", "access", "networks", "gateway"), "")
        values = {
            **empty,
            "name": "Example Hotel",
            "url": self.url,
            "store": self.store_url,
            "scratch": str(lab.scratch),
            "own": json.dumps([other]),
            "redirected": str(REDIRECTED),
            "source": 'source = "conntrack"',
            "own_port": str(OWN),
            "report": "1s",
            "methods": json.dumps(list(methods)),
            "password_hash": self._hash(),
        }
        if self._relayed:
            relay = lab.gateway.address(4, "server")
            values["source"] = f'source = "proxy"\ntrust = ["{relay}/32"]'
            values["gateway"] = f"redirect_port = {RELAY}"
        elif remote:
            listeners = [show((self._node.address(v, peer), REDIRECTED)) for v in (4, 6)]
            values["source"] = (
                f'source = "proxy"\ntrust = ["inline"]\nauth_key_file = "{self._sign()}"'
            )
            values["gateway"] = f'redirect_to = {json.dumps(listeners)}\nhelper = "{helper}"'
        self.config.write_text(CONFIG.format(**{**values, **places}))

    def start(self) -> None:
        """Starts internet, agent and portal, and waits until they answer."""
        become_internet(self.lab.server)
        self.agent = self.lab.gateway.popen(self.command("agent"))
        self.portal = self._node.popen(self.command("run"))
        self.agent.wait_log("sessions")
        self.portal.wait_listening(REDIRECTED, OWN)
        self.portal.wait_log("Booting worker")
        if self._relayed:
            self._relay().wait_listening(RELAY)

    def _relay(self) -> Process:
        """Starts the relay on the gateway, for clients of both versions. It connects over IPv4."""
        upstream = f"{self._node.address()}:{REDIRECTED}"
        listens = ["--listen", f"0.0.0.0:{RELAY}", "--listen", f"[::]:{RELAY}"]
        ctwsgi = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "ctwsgi"]
        options = ["--upstream", upstream, "--format", "proxy"]
        return self.lab.gateway.popen([*ctwsgi, "relay", *listens, *options])

    def _sign(self) -> Path:
        """Gives the module on the gateway a key to sign with. Returns the key's file."""
        path = self.lab.scratch / "key"
        path.write_text(f"1 {secrets.token_hex(32)}\n")
        path.chmod(0o600)
        self.lab.gateway.run(["sh", "-c", f"cat {path} >/proc/net/ctinject_keys"])
        return path

    def command(self, *words: str) -> list[str]:
        """The command `ctwsgi-portal WORDS` with this configuration."""
        prefix = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "ctwsgi_portal"]
        return [*prefix, "-c", str(self.config), *words]

    def run(self, *words: str) -> str:
        """Runs a command of ctwsgi-portal on the gateway. Returns its output."""
        return self.lab.gateway.run(self.command(*words)).stdout

    def voucher(self) -> str:
        """Creates a voucher. Returns its code."""
        return self.run("vouchers", "create", "1", "--label", "lab").split()[-1]

    def reaches_internet(self, version: int = 4) -> bool:
        """Whether the client gets a page of the internet."""
        host = INTERNET[version] if version == 4 else f"[{INTERNET[version]}]"
        done = self.lab.client.run(
            ["curl", "-gsS", "--noproxy", "*", "--max-time", "10", f"http://{host}/"], check=False
        )
        return done.stdout.startswith("the internet")

    def _hash(self) -> str:
        from werkzeug.security import generate_password_hash

        return generate_password_hash(PASSWORD, "scrypt")


def main() -> int:
    """Runs until Ctrl-C. Through the proxy a browser of this machine uses the client's network."""
    end_in_order()
    with listener() as browsers, Lab() as lab:
        portal = PortalLab(lab, methods=("click", "voucher", "password"))
        portal.start()
        proxy = subprocess.Popen(
            [*lab.enter("client"), sys.executable, str(Path(__file__).with_name("proxy.py"))],
            stdin=browsers.fileno(), env=lab.environ, start_new_session=True,
        )  # fmt: skip
        print(_introduction(portal, browsers), flush=True)
        try:
            portal.portal.wait()
        finally:
            with undisturbed():
                kill(proxy)
    return 0


def _introduction(portal: PortalLab, browsers: socket.socket) -> str:
    proxy = f"http://127.0.0.1:{browsers.getsockname()[1]}"
    inside = " ".join(portal.lab.inside())
    return f"""
The portal runs on the gateway of a lab of network namespaces (demo_app/docs/portal.md). The
internet is one machine, which answers at every address of 198.18.0.0/15 and 2001:db8::/32.

A browser of this machine takes the client's place through a proxy:

    chromium --user-data-dir=$(mktemp -d) --proxy-server={proxy} http://{INTERNET[4]}/

or set {proxy} as HTTP proxy in any browser, and open

    http://{INTERNET[4]}/        http://[{INTERNET[6]}]/

The splash page of {portal.url} appears. Accept; log in as alice, "{PASSWORD}"; or use the voucher

    {portal.voucher()}

By hand, and what the operator sees:

    {inside} ip netns exec client curl -i http://{INTERNET[4]}/
    {inside} ip netns exec gateway nft list table inet {TABLE}
    {Path(sys.executable).with_name("ctwsgi-portal")} -c {portal.config} sessions list

Ctrl-C takes everything away."""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Ended as e:
        sys.exit(0 if e.number == signal.SIGINT else e.code)  # Ctrl-C is how to end it
    except (LabError, OSError, RuntimeError) as e:
        sys.exit(f"portal: {e}")
