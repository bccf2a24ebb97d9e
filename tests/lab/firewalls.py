# SPDX-License-Identifier: MIT
"""ufw and firewalld as Debian ships them, each on one host of a lab, with its own files.

    firewall = FIREWALLS["ufw"](lab, lab.gateway)
    firewall.let_through("10.77.2.2", 8080)
    firewall.start()

Neither reads nor changes the configuration of the machine. Needs root.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from .lab import Lab
from .node import Node
from .process import Process
from .requirements import LabError
from .topology import show
from .wait import until


class Firewall(ABC):
    """What an operator tells a firewall. Everything but `reload` has to precede `start`.

    A firewall accepts and forwards only what it was told to.
    """

    NEEDS: ClassVar[dict[str, str]]
    """The Debian package of each command."""

    def __init__(self, lab: Lab, node: Node) -> None:
        self._lab, self._node = lab, node
        self._folder = lab.scratch / f"firewall-{node.name}"
        self._folder.mkdir()

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot run here, in one line, or None."""
        if os.geteuid():
            return "only root can run a firewall"
        lacking = [c for c in cls.NEEDS if not shutil.which(c)]
        packages = " ".join(sorted({cls.NEEDS[c] for c in lacking}))
        return f"no {', '.join(lacking)}: apt-get install {packages}" if lacking else None

    @abstractmethod
    def let_through(self, address: str, port: int) -> None:
        """Forwards translated TCP connections to this server."""

    @abstractmethod
    def translate(self, lan: str, port: int, to: tuple[str, int]) -> None:
        """Translates connections from device `lan` to `port`, so that they go to that server."""

    @abstractmethod
    def route(self, lan: str, wan: str) -> None:
        """Forwards everything from device `lan` to `wan`, and the answers to it."""

    @abstractmethod
    def accept(self, lan: str, *ports: int) -> None:
        """Accepts TCP from device `lan` to these ports of this host."""

    @abstractmethod
    def start(self) -> None:
        """Starts the firewall. It filters when this returns."""

    @abstractmethod
    def reload(self) -> None:
        """Reloads the rules by the operator's command."""


_UFW_RULES = Path("/usr/share/ufw/iptables")
_UFW_DEFAULTS = """IPV6=yes
DEFAULT_INPUT_POLICY="DROP"
DEFAULT_OUTPUT_POLICY="ACCEPT"
DEFAULT_FORWARD_POLICY="DROP"
DEFAULT_APPLICATION_POLICY="SKIP"
MANAGE_BUILTINS=no
IPT_SYSCTL=
IPT_MODULES=""
"""

_IN_ITS_FILES = """
set -e
mount --bind "$1/etc" /etc/ufw
mount --bind "$1/default" /etc/default/ufw
mount -t tmpfs run /run
shift
exec "$@"
"""
"""ufw has no option for its folders. Its lock is in /run."""


class Ufw(Firewall):
    """ufw; translations are `*nat` rules in before.rules (ufw-framework(8))."""

    NEEDS: ClassVar = {"ufw": "ufw", "iptables": "iptables"}

    def __init__(self, lab: Lab, node: Node) -> None:
        super().__init__(lab, node)
        etc = self._folder / "etc"
        shutil.copytree(_UFW_RULES, etc)
        shutil.copy("/usr/share/ufw/ufw.conf", etc)
        (etc / "applications.d").mkdir()
        (self._folder / "default").write_text(_UFW_DEFAULTS)

    def let_through(self, address: str, port: int) -> None:
        self._ufw("route", "allow", "proto", "tcp", "to", address, "port", str(port))

    def translate(self, lan: str, port: int, to: tuple[str, int]) -> None:
        rule = f"-i {lan} -p tcp --dport {port} -j DNAT --to-destination {show(to)}"
        name = "before6.rules" if ":" in to[0] else "before.rules"
        with (self._folder / "etc" / name).open("a") as file:
            file.write(f"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rule}\nCOMMIT\n")

    def route(self, lan: str, wan: str) -> None:
        self._ufw("route", "allow", "in", "on", lan, "out", "on", wan)

    def accept(self, lan: str, *ports: int) -> None:
        listed = ",".join(map(str, ports))
        self._ufw(*("allow", "in", "on", lan, "proto", "tcp"), "to", "any", "port", listed)

    def start(self) -> None:
        self._ufw("--force", "enable")

    def reload(self) -> None:
        self._ufw("reload")

    def _ufw(self, *words: str) -> None:
        script = ["sh", "-c", _IN_ITS_FILES, "sh", str(self._folder)]
        self._node.run(["unshare", "--mount", *script, "ufw", *words])


_BUS = """
<busconfig>
  <type>system</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="org.fedoraproject.FirewallD1"/>
    <allow own="org.fedoraproject.FirewallD1.config"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
"""A system bus for this firewalld. Only root reaches it, because the lab's folder has mode 0700."""


class Firewalld(Firewall):
    """firewalld; clients are in zone `internal`, everything else in zone `public`."""

    NEEDS: ClassVar = {
        "firewalld": "firewalld",
        "firewall-cmd": "firewalld",
        "dbus-daemon": "dbus",
    }

    def __init__(self, lab: Lab, node: Node) -> None:
        super().__init__(lab, node)
        self._environ = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self._folder}/bus"}
        self._wanted: list[Sequence[str]] = []
        self._process: Process

    def let_through(self, address: str, port: int) -> None:
        """Does nothing: firewalld forwards everything translated (`ct status dnat accept`)."""

    def translate(self, lan: str, port: int, to: tuple[str, int]) -> None:
        family = "ipv6" if ":" in to[0] else "ipv4"
        target = f'to-port="{to[1]}" to-addr="{to[0]}"'
        rule = f'rule family="{family}" forward-port port="{port}" protocol="tcp" {target}'
        self._enter(lan)
        self._wanted.append(["--zone=internal", f"--add-rich-rule={rule}"])

    def route(self, lan: str, wan: str) -> None:
        self._enter(lan)
        # Without this, the device is in the default zone implicitly, and a policy does not see it.
        self._wanted.append(["--zone=public", f"--add-interface={wan}"])
        policy = "--policy=through"
        self._wanted += [
            ["--new-policy=through"],
            [policy, "--add-ingress-zone=internal"],
            [policy, "--add-egress-zone=public"],
            [policy, "--set-target=ACCEPT"],
        ]

    def accept(self, lan: str, *ports: int) -> None:
        self._enter(lan)
        self._wanted.append(["--zone=internal", *(f"--add-port={port}/tcp" for port in ports)])

    def _enter(self, lan: str) -> None:
        entry = ["--zone=internal", f"--add-interface={lan}"]
        if entry not in self._wanted:
            self._wanted.append(entry)

    def start(self) -> None:
        settings = self._folder / "settings"
        settings.mkdir()
        for words in self._wanted:
            command = ["firewall-offline-cmd", f"--system-config={settings}", *words]
            self._node.run(command)
        config = self._folder / "bus.conf"
        config.write_text(_BUS.format(folder=self._folder))
        bus = ["dbus-daemon", "--nofork", "--nopidfile", "--print-address"]
        self._node.popen([*bus, f"--config-file={config}"]).wait_log("unix:")
        self._process = self._node.popen(
            ["firewalld", "--nofork", "--nopid", f"--system-config={settings}"], self._environ
        )
        until(self._answers, "firewalld")

    def reload(self) -> None:
        self._node.run([*self._command(), "--reload"])

    def _answers(self) -> bool:
        if self._process.returncode is not None:
            raise LabError(f"firewalld ended: {self._process.log()}")
        return not self._node.run([*self._command(), "--state"], check=False).returncode

    def _command(self) -> list[str]:
        return ["env", *(f"{k}={v}" for k, v in self._environ.items()), "firewall-cmd"]


FIREWALLS: dict[str, type[Firewall]] = {"ufw": Ufw, "firewalld": Firewalld}
