# SPDX-License-Identifier: MIT
"""What is under test: how connections are selected, how it is loaded, what it writes and counts.

`Injector` is also the control: it writes nothing. The cases know nothing else of an injector, so
that another kind of it needs a class here and no change there.
"""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctwsgi.ebpf.injector import MAX_FLOWS, Wanted
from ctwsgi.ebpf.injector import Injector as BpfInjector
from ctwsgi.ebpf.structs import Selection, Settings
from ctwsgi.wire import ctframe, proxy
from ctwsgi.wire.auth import Key, KeyRing

from .decoders import CtframeDecoder, Decoder, ProxyDecoder
from .net import Namespace
from .places import SELECTED, Address

MARK = 0x61
"""What the rule marks a connection with that the eBPF program is to select."""


class Injector:
    """The control: NAT, and nobody who writes anything."""

    name = "none"
    versions: Collection[int] = (4, 6)
    """IP versions that it serves."""
    places: Collection[str] = (
        *("dnat", "redirect", "gateway", "lo", "behind", "direct", "direct-local"),
        *("dnat6", "gateway6", "lo6", "behind6"),
    )
    per_connection = False
    """It writes once per connection, not per segment."""
    datagrams = True
    """It has something to do with UDP, if only nothing."""
    outlives_conntrack = False
    """A connection whose entry is gone, and is made anew in mid-stream, goes on with its header."""
    bounds_move = True
    """They can be changed with connections open."""

    def decoder(self) -> Decoder:
        """For one connection's stream, as it arrives at the listener."""
        return Decoder()

    def datagram(self, data: bytes) -> tuple[Address | None, Address | None, bytes]:
        """(original destination, original source, payload) of a datagram at the listener."""
        return None, None, data

    def enter(self, gateway: Namespace) -> None:
        """Its cases begin. The module is there from the start."""

    def leave(self, gateway: Namespace) -> None:
        """Its cases are over."""

    def load(self, gateway: Namespace) -> None:
        """Makes the kernel know it."""

    def unload(self, gateway: Namespace) -> None:
        """Makes the kernel forget it. Rules that name it are gone before."""

    def rules(self) -> str:
        """The nft tables for the gateway that select what is bound for SELECTED."""
        return ""

    def without_rules(self) -> str:
        """Takes `rules()` away."""
        return ""

    def counters(self, gateway: Namespace) -> dict[str, int]:
        """Its gauges and counters by the module's names; those that it has not are missing."""
        return {}

    def set_keys(self, gateway: Namespace, lines: str) -> None:
        """Lines `ID HEX` set a key for signing, `ID` alone removes it."""

    @contextmanager
    def limits(self, **values: int) -> Iterator[None]:
        """Bounds, by the module's names, that hold inside the `with`."""
        yield


class WritesHeaders(Injector):
    """One PROXY v2 header before a connection's first byte."""

    per_connection = True
    _keys: KeyRing | None = None

    def decoder(self) -> Decoder:
        """One header."""
        return ProxyDecoder(self._keys)

    def signed_by(self, keys: KeyRing) -> WritesHeaders:
        """The same, read by somebody who has these keys and insists on a signature."""
        reader = copy.copy(self)
        reader._keys = keys
        return reader


class Helper(Injector):
    """The kernel module, selected by a conntrack helper's name."""

    protocols = ("tcp", "udp")

    def __init__(self, module: str) -> None:
        self._module = module
        self._name = Path(module).stem

    @property
    def file(self) -> Path:
        """The .ko."""
        return Path(self._module)

    def load(self, gateway: Namespace | None = None) -> None:
        """insmod."""
        _run("insmod", self._module)

    def unload(self, gateway: Namespace | None = None) -> None:
        """rmmod."""
        _run("rmmod", self._name)

    def rules(self) -> str:
        """`ct helper set` on the first packet, before NAT, for TCP and UDP."""
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
        """Takes the table away."""
        return "delete table inet select\n"

    def counters(self, gateway: Namespace) -> dict[str, int]:
        """/proc/net/ctinject; nothing when the module is not loaded."""
        with suppress(FileNotFoundError):
            pairs = (line.split() for line in gateway.proc("ctinject").splitlines())
            return {name: int(value) for name, value in pairs}
        return {}

    def set_keys(self, gateway: Namespace, lines: str) -> None:
        """/proc/net/ctinject_keys of the gateway's namespace."""
        gateway.write_proc("ctinject_keys", lines)

    @contextmanager
    def limits(self, **values: int) -> Iterator[None]:
        """The module's parameters, which can be changed while it runs."""
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
    """8 bytes before every segment."""

    name = "ctframe"
    versions = (4,)
    places = ("dnat", "redirect", "gateway", "lo", "behind", "direct", "direct-local")

    def decoder(self) -> Decoder:
        """Frames."""
        return CtframeDecoder()

    def datagram(self, data: bytes) -> tuple[Address | None, Address | None, bytes]:
        """Six bytes before the payload."""
        destination, payload = ctframe.decode_datagram(data)
        return destination, None, payload


class Ctproxy(WritesHeaders, Helper):
    """A PROXY v2 header before the first byte, of datagrams too."""

    name = "ctproxy"

    def datagram(self, data: bytes) -> tuple[Address | None, Address | None, bytes]:
        """A header before the payload."""
        header, payload = proxy.decode_datagram(data, keys=self._keys)
        return header.dst, header.src, payload


class Ebpf(WritesHeaders):
    """The eBPF program on the device to the servers, selected by a conntrack mark."""

    name = "ebpf"
    datagrams = False
    outlives_conntrack = True
    bounds_move = False
    places = ("gateway", "gateway6", "behind", "behind6", "direct")

    def __init__(self) -> None:
        self._attached: dict[Namespace, BpfInjector] = {}
        self._secrets: dict[int, Key] = {}

    def enter(self, gateway: Namespace) -> None:
        """Attached for its own cases only: others have nothing to do with it."""
        self.load(gateway)

    def leave(self, gateway: Namespace) -> None:
        """Detached."""
        self.unload(gateway)

    def load(self, gateway: Namespace) -> None:
        """Attach."""
        self._attach(gateway, MAX_FLOWS)

    def _attach(self, gateway: Namespace, max_flows: int) -> None:
        settings = Settings(selection=Selection.MARK, mark=MARK, mask=MARK, sweep=50)
        with gateway.entered():
            found = BpfInjector("gs")
            found.attach(Wanted(settings, key=self._signer(), max_flows=max_flows))
        self._attached[gateway] = found

    def unload(self, gateway: Namespace) -> None:
        """Detach."""
        with gateway.entered():
            self._attached.pop(gateway).detach()

    @contextmanager
    def limits(self, **values: int) -> Iterator[None]:
        """The table has its size from the beginning: inside the `with` it is another one."""
        gateways = [g for g in self._attached if g.is_open and "max_flows" in values]
        for gateway in gateways:
            self._resize(gateway, values["max_flows"])
        try:
            yield
        finally:
            for gateway in gateways:
                self._resize(gateway, MAX_FLOWS)

    def _resize(self, gateway: Namespace, max_flows: int) -> None:
        """Meanwhile nothing begins, or it would have begun without the program."""
        gateway.nft(
            "table inet resize {\nchain forward {\ntype filter hook forward priority 10;\n"
            "tcp flags & (syn | ack) == syn drop\n}\n}\n"
        )
        self.unload(gateway)
        self._attach(gateway, max_flows)
        gateway.nft("delete table inet resize\n")

    def rules(self) -> str:
        """The mark is set on the first packet, before NAT."""
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
        """Takes the table away."""
        return "delete table inet select\n"

    def counters(self, gateway: Namespace) -> dict[str, int]:
        """Those of the device; nothing when it is not attached."""
        return self._attached[gateway].counters() if gateway in self._attached else {}

    def set_keys(self, gateway: Namespace, lines: str) -> None:
        """The lowest id signs."""
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
