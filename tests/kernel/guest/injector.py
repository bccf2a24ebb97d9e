# SPDX-License-Identifier: MIT
"""The injectors under test: how each is loaded, selects connections, writes, and counts.

`InjectorUnderTest` is also the control, which writes nothing. The cases use this interface only: a
new injector needs a class here and no change in the cases.
"""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctwsgi.ebpf.injector import MAX_FLOWS, Injector, Wanted
from ctwsgi.ebpf.structs import Selection, Settings
from ctwsgi.wire import ctframe, proxy
from ctwsgi.wire.auth import Key, KeyRing

from .decoders import CtframeDecoder, Decoder, ProxyDecoder
from .net import Namespace
from .places import PORT, SELECTED, Address

MARK = 0x61
"""The connection mark that selects for the eBPF program."""


class InjectorUnderTest:
    """The control: NAT without an injector."""

    name = "none"
    versions: Collection[int] = (4, 6)
    """The IP versions that it supports."""
    places: Collection[str] = (
        *("dnat", "redirect", "gateway", "lo", "behind", "direct", "direct-local"),
        *("dnat6", "gateway6", "lo6", "behind6"),
    )
    per_connection = False
    """It writes once per connection, and not into every segment."""
    outlives_conntrack = False
    """A connection goes on after conntrack has lost its entry and made a new one in mid-stream."""
    bounds_move = True
    """Its limits can change while connections are open."""

    def decoder(self) -> Decoder:
        """A decoder for one connection's stream at the listener."""
        return Decoder()

    def datagram(self, data: bytes) -> tuple[Address | None, Address | None, bytes]:
        """(original destination, original source, payload) of a datagram at the listener."""
        return None, None, data

    def enter(self, gateway: Namespace) -> None:
        """Called before its cases. The module is already loaded."""

    def leave(self, gateway: Namespace) -> None:
        """Called after its cases."""

    def load(self, gateway: Namespace) -> None:
        """Loads it into the kernel."""

    def unload(self, gateway: Namespace) -> None:
        """Unloads it from the kernel. The caller has removed the rules that name it."""

    def rules(self) -> str:
        """The gateway's nft table that selects connections to SELECTED."""
        return ""

    def without_rules(self) -> str:
        """The nft command that removes `rules()`."""
        return ""

    def counters(self, gateway: Namespace) -> dict[str, int]:
        """Its gauges and counters, under the module's names as far as it has them."""
        return {}

    def set_keys(self, gateway: Namespace, lines: str) -> None:
        """A line `ID HEX` sets a key for signing; `ID` alone removes it."""

    @contextmanager
    def limits(self, **values: int) -> Iterator[None]:
        """Sets limits, under the module's names, for the `with`."""
        yield


class WritesHeaders(InjectorUnderTest):
    """The base of those that write a PROXY v2 header before the first byte of a connection, and of
    each datagram."""

    per_connection = True
    _keys: KeyRing | None = None

    def decoder(self) -> Decoder:
        return ProxyDecoder(self._keys)

    def datagram(self, data: bytes) -> tuple[Address | None, Address | None, bytes]:
        header, payload = proxy.decode_datagram(data, keys=self._keys)
        return header.dst, header.src, payload

    def signed_by(self, keys: KeyRing) -> WritesHeaders:
        """The same injector, with decoders that have these keys and require a signature."""
        reader = copy.copy(self)
        reader._keys = keys
        return reader


class Helper(InjectorUnderTest):
    """The kernel module. A rule selects it by a conntrack helper's name."""

    protocols = ("tcp", "udp")

    def __init__(self, module: str) -> None:
        self._module = module
        self._name = Path(module).stem

    @property
    def file(self) -> Path:
        return Path(self._module)

    def load(self, gateway: Namespace | None = None) -> None:
        _run("insmod", self._module)

    def unload(self, gateway: Namespace | None = None) -> None:
        _run("rmmod", self._name)

    def rules(self) -> str:
        """`ct helper set` on the first packet of TCP and UDP, before NAT."""
        chosen = "".join(
            f"    meta l4proto {protocol} {'ip' if version == 4 else 'ip6'} daddr"
            f' {{ {SELECTED[version]} }} ct helper set "over_{protocol}"\n'
            for version in self.versions
            for protocol in self.protocols
        )
        helpers = "".join(
            f'  ct helper over_{protocol} {{ type "{self.name}" protocol {protocol}; }}\n'
            for protocol in self.protocols
        )
        return f"""table inet select {{
{helpers}  chain pre {{
    type filter hook prerouting priority -150;
{chosen}  }}
  chain out {{
    type filter hook output priority -150;
{chosen}  }}
}}
"""

    def without_rules(self) -> str:
        return "delete table inet select\n"

    def counters(self, gateway: Namespace) -> dict[str, int]:
        """Reads /proc/net/ctinject; empty when the module is not loaded."""
        with suppress(FileNotFoundError):
            pairs = (line.split() for line in gateway.proc("ctinject").splitlines())
            return {name: int(value) for name, value in pairs}
        return {}

    def set_keys(self, gateway: Namespace, lines: str) -> None:
        """Writes to /proc/net/ctinject_keys of the gateway's namespace."""
        gateway.write_proc("ctinject_keys", lines)

    @contextmanager
    def limits(self, **values: int) -> Iterator[None]:
        """Sets the module's parameters, which may change while it runs."""
        former = {name: self._parameter(name, str(value)) for name, value in values.items()}
        try:
            yield
        finally:
            for name, value in former.items():
                self._parameter(name, value)

    def _parameter(self, name: str, value: str) -> str:
        path = Path("/sys/module") / self._name / "parameters" / name
        former = path.read_text()
        path.write_text(value)
        return former


class Ctframe(Helper):
    """The module's ctframe: 8 bytes before every segment."""

    name = "ctframe"
    versions = (4,)
    places = ("dnat", "redirect", "gateway", "lo", "behind", "direct", "direct-local")

    def decoder(self) -> Decoder:
        return CtframeDecoder()

    def datagram(self, data: bytes) -> tuple[Address | None, Address | None, bytes]:
        """A datagram has six bytes before its payload."""
        destination, payload = ctframe.decode_datagram(data)
        return destination, None, payload


class Ctproxy(WritesHeaders, Helper):
    """The module's ctproxy: a PROXY v2 header before the first byte, also of datagrams."""

    name = "ctproxy"


class Ebpf(WritesHeaders):
    """The eBPF program on the device to the servers. A conntrack mark selects for it."""

    name = "ebpf"
    outlives_conntrack = True
    bounds_move = False
    places = ("gateway", "gateway6", "behind", "behind6", "direct")

    def __init__(self) -> None:
        self._attached: dict[Namespace, Injector] = {}
        self._secrets: dict[int, Key] = {}

    def enter(self, gateway: Namespace) -> None:
        """Attaches the program for its own cases only."""
        self.load(gateway)

    def leave(self, gateway: Namespace) -> None:
        self.unload(gateway)

    def load(self, gateway: Namespace) -> None:
        self._attach(gateway, MAX_FLOWS)

    def _attach(self, gateway: Namespace, max_flows: int) -> None:
        settings = Settings(selection=Selection.MARK, mark=MARK, mask=MARK, sweep=50)
        with gateway.entered():
            found = Injector("gs")
            found.attach(
                Wanted(settings, udp_ports=(PORT,), key=self._signer(), max_flows=max_flows)
            )
        self._attached[gateway] = found

    def unload(self, gateway: Namespace) -> None:
        with gateway.entered():
            self._attached.pop(gateway).detach()

    @contextmanager
    def limits(self, **values: int) -> Iterator[None]:
        """Attaches again with a table of another size, because a table cannot be resized."""
        gateways = [g for g in self._attached if g.is_open and "max_flows" in values]
        for gateway in gateways:
            self._resize(gateway, values["max_flows"])
        try:
            yield
        finally:
            for gateway in gateways:
                self._resize(gateway, MAX_FLOWS)

    def _resize(self, gateway: Namespace, max_flows: int) -> None:
        """Drops SYNs meanwhile, because such a connection would begin without the program."""
        gateway.nft(
            "table inet resize {\nchain forward {\ntype filter hook forward priority 10;\n"
            "tcp flags & (syn | ack) == syn drop\n}\n}\n"
        )
        self.unload(gateway)
        self._attach(gateway, max_flows)
        gateway.nft("delete table inet resize\n")

    def rules(self) -> str:
        """Sets the mark on the first packet, before NAT."""
        chosen = "".join(
            f"    {'ip' if version == 4 else 'ip6'} daddr {{ {SELECTED[version]} }}"
            f" ct state new ct mark set {MARK}\n"
            for version in self.versions
        )
        return f"""table inet select {{
  chain pre {{
    type filter hook prerouting priority -150;
{chosen}  }}
}}
"""

    def without_rules(self) -> str:
        return "delete table inet select\n"

    def counters(self, gateway: Namespace) -> dict[str, int]:
        """The counters of the device; empty when the program is not attached."""
        return self._attached[gateway].counters() if gateway in self._attached else {}

    def set_keys(self, gateway: Namespace, lines: str) -> None:
        """Sets and removes keys. The key with the lowest id signs."""
        for line in filter(str.strip, lines.splitlines()):
            number, _, digits = line.strip().partition(" ")
            self._secrets.pop(int(number), None)
            if digits:
                self._secrets[int(number)] = Key(int(number), bytes.fromhex(digits))
        self._attached[gateway].sign_with(self._signer())

    def _signer(self) -> Key | None:
        return self._secrets[min(self._secrets)] if self._secrets else None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
