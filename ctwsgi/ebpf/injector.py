# SPDX-License-Identifier: MIT
"""Attach, replace and detach the program; read and write its maps.

The maps of a device are pinned in /sys/fs/bpf/ctwsgi/NETNS/IFINDEX, for root only, and stay when
the process ends, and when somebody removes the filters. Attaching to a device that has the program
replaces it in one step. The new program takes over what is pinned of flows, counters and scratch
memory, and gets new settings, servers and key.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum

from ..origin import Address
from ..wire.auth import Key
from .btf import require_mark
from .errors import InjectorError
from .half_open import Resetter, half_open_connections
from .host import (
    Device,
    find_device,
    pins,
    require_bpffs,
    require_kernel,
    require_object,
    require_rights,
    tc_filters,
)
from .libbpf import EGRESS, INGRESS, BpfError, Hooks, Map, Object
from .pins import OWNER, alone, claim, is_claimed, remove_stale_pins
from .structs import (
    BACKENDS_MAX,
    COUNTERS,
    UDP_PORTS_MAX,
    Selection,
    Settings,
    pack_backend,
    pack_key,
    pack_port,
    unpack_backend,
    unpack_key_id,
    unpack_port,
)

PROGRAMS = {EGRESS: "ctwsgi_egress", INGRESS: "ctwsgi_ingress"}

HANDED_OVER = ("flows", "tokens", "sweepers", "counters", "works")
FRESH = ("settings", "signing_keys", "backends", "udp_ports")
SIZED = ("flows", "tokens")
"""The maps whose size --max-flows chooses."""

MAX_FLOWS = 1 << 18
"""Each takes 60 bytes from the start, and 300 more while it is used."""

OPENING = 1.0
"""Seconds that detach() waits for half-open connections to get their header."""

_FIRST = bytes(4)
"""Key of the only entry of an array map."""


@dataclass(frozen=True)
class Wanted:
    """What the caller of attach() chooses."""

    settings: Settings = field(default_factory=Settings)
    backends: tuple[Address, ...] = ()
    udp_ports: tuple[int, ...] = ()
    """Servers' ports to which datagrams get a header, of those that the settings select."""
    key: Key | None = None
    max_flows: int = MAX_FLOWS


class Attached(Enum):
    """What attach() has done, in words."""

    FIRST = "attached"
    REPLACED = "replaced"
    AGAIN = "attached again, its connections go on"
    ANEW = (
        "attached anew: what was pinned is incomplete or of another version, so connections that "
        "are older than now are dropped unless --existing is pass"
    )


def tai_offset() -> int:
    """Seconds that TAI is ahead of Unix time in this kernel; 0 if no time service has set it."""
    return round(time.clock_gettime(time.CLOCK_TAI) - time.clock_gettime(time.CLOCK_REALTIME))


class Injector:
    """A device of this network namespace, whether the program is attached or not."""

    def __init__(self, name: str) -> None:
        """InjectorError when the device is not supported."""
        self.device: Device = find_device(name)
        self._pins = pins(self.device.index)
        self._hooks = Hooks(self.device.index)

    @property
    def attached(self) -> bool:
        """Whether both programs are attached."""
        return all(map(self._has, PROGRAMS))

    @property
    def is_known(self) -> bool:
        """Whether there is anything of the program: a filter, or the maps of one that was removed.

        False also if the maps are those of another device that had the same numbers.
        """
        return is_claimed(self._pins) or any(map(self._has, PROGRAMS))

    def _has(self, point: int) -> bool:
        return self._hooks.name(point) == PROGRAMS[point]

    def attach(self, wanted: Wanted) -> Attached:
        """Attach the program. On InjectorError nothing has changed."""
        path = require_object()
        require_rights()
        require_kernel()
        if wanted.settings.selection is Selection.MARK:
            require_mark()
        require_bpffs()
        self._require_own_place()
        with alone(), ExitStack() as opened:
            remove_stale_pins()
            program = opened.enter_context(Object(path))
            done, former = self._former(program)
            for each in former.values():
                opened.callback(each.close)
            self._share(program, former, wanted)
            program.load()
            self._put(program, wanted, done)
        return done

    def _require_own_place(self) -> None:
        for point, name in PROGRAMS.items():
            found = self._hooks.name(point)
            if found not in (None, name):
                raise InjectorError(
                    f"{self.device.name}: another filter, {found!r}, has our priority and handle: "
                    f"see `tc filter show dev {self.device.name} egress`"
                )

    def _former(self, program: Object) -> tuple[Attached, dict[str, Map]]:
        """What attaching is, and the maps that `program` takes over.

        Maps that do not fit are an InjectorError as long as a program works with them. When it is
        gone, clients can write their own headers, so then to attach matters more.
        """
        found = self._pinned() if self.is_known else {}
        if not found:
            return Attached.FIRST, {}
        attached = self.attached
        try:
            self._require_fit(program, found)
        except InjectorError:
            for each in found.values():
                each.close()
            if attached:
                raise
            return Attached.ANEW, {}
        return Attached.REPLACED if attached else Attached.AGAIN, found

    def _pinned(self) -> dict[str, Map]:
        found: dict[str, Map] = {}
        for name in HANDED_OVER:
            with suppress(BpfError):
                found[name] = Map.pinned(self._pins / name)
        return found

    def _require_fit(self, program: Object, found: dict[str, Map]) -> None:
        if len(found) != len(HANDED_OVER):
            raise InjectorError(f"{self._pins} is incomplete: detach {self.device.name} first")
        for name, each in found.items():
            if not program.fits(name, each, any_size=name in SIZED):
                raise self._other_version(name)

    def _share(self, program: Object, former: dict[str, Map], wanted: Wanted) -> None:
        for name, each in former.items():
            program.reuse(name, each)
        if not former:
            for name in SIZED:
                program.resize(name, wanted.max_flows)

    def _other_version(self, name: str) -> InjectorError:
        return InjectorError(
            f"{self.device.name} has a program of another version, whose {name} cannot be taken "
            "over: detach it first, when few connections are being opened"
        )

    def _put(self, program: Object, wanted: Wanted, done: Attached) -> None:
        """Fill and pin the maps, then attach: no packet meets an empty map."""
        owns = self._hooks.create()
        if done is not Attached.FIRST:
            with suppress(InjectorError):  # missing, or of another version
                owns = owns or self.settings().owns_qdisc
        settings = replace(
            wanted.settings,
            link_header=self.device.link_header,
            signed=wanted.key is not None,
            tai_offset=tai_offset(),
            owns_qdisc=owns,
        )
        program.map("settings").set(_FIRST, settings.pack())
        program.map("signing_keys").set(_FIRST, pack_key(wanted.key), locked=True)
        for address in wanted.backends:
            program.map("backends").set(pack_backend(address), b"\x01")
        for port in wanted.udp_ports:
            program.map("udp_ports").set(pack_port(port), b"\x01")
        claim(self._pins)
        for name in HANDED_OVER + FRESH:
            program.map(name).pin(self._pins / name)
        for point, name in PROGRAMS.items():
            self._hooks.attach(point, program.program(name))

    def detach(self) -> int:
        """Remove the program and its maps, if there are any.

        First SYNs of new connections are dropped for up to OPENING seconds, so that half-open
        connections can get their header. Those that do not get it are reset. Returns how many.
        """
        require_rights()
        reset = 0
        # Without the ingress filter the flows do not show whose header has arrived.
        if self._has(INGRESS):
            with suppress(InjectorError):  # a program of another version is removed all the same
                reset = self._end_half_open()
        with alone():
            self._remove()
        return reset

    def _end_half_open(self) -> int:
        self.change(closing=True)
        sends = self._has(EGRESS)  # without it nobody sends headers
        try:
            with self._map("flows") as flows:
                end = time.monotonic() + OPENING
                while sends and any(half_open_connections(flows)) and time.monotonic() < end:
                    time.sleep(0.02)
                left = list(half_open_connections(flows))
            with Resetter(self.device.name, doubled=sends) as resetter:
                for each in left:
                    with suppress(OSError):  # the RST cannot be sent: the two sides time out
                        resetter.reset(each)
        except BaseException:
            self.change(closing=False)
            raise
        return len(left)

    def _remove(self) -> None:
        owns = False
        with suppress(InjectorError):
            owns = self.settings().owns_qdisc
        for point in filter(self._has, PROGRAMS):
            self._hooks.detach(point)
        if owns and not self._has_other_filters():
            with suppress(BpfError):
                self._hooks.destroy()
        for name in (*HANDED_OVER, *FRESH, OWNER):
            (self._pins / name).unlink(missing_ok=True)
        for folder in (self._pins, self._pins.parent):
            with suppress(OSError):
                folder.rmdir()
        remove_stale_pins()

    def _has_other_filters(self) -> bool:
        return bool(tc_filters(self.device.name))

    @contextmanager
    def _map(self, name: str) -> Iterator[Map]:
        if not self.is_known:
            raise self._nothing()
        try:
            found = Map.pinned(self._pins / name)
        except BpfError as e:
            if e.code not in (errno.ENOENT, errno.ENOTDIR):
                raise
            raise self._nothing() from None
        try:
            yield found
        finally:
            found.close()

    def _nothing(self) -> InjectorError:
        name = self.device.name
        return InjectorError(f"nothing is attached to {name}: ctwsgi gateway attach {name}")

    def settings(self) -> Settings:
        """The settings in force. InjectorError when nothing is attached."""
        with self._map("settings") as settings:
            try:
                return Settings.unpack(settings.get(_FIRST))
            except ValueError:
                raise self._other_version("settings") from None

    def change(self, **values: object) -> None:
        """Change some settings, from the next packet on."""
        changed = replace(self.settings(), **values)  # type: ignore[arg-type]
        with self._map("settings") as settings:
            settings.set(_FIRST, changed.pack())

    def refresh_time(self) -> None:
        """Give the program the offset of TAI if the kernel's has changed."""
        if self.settings().tai_offset != tai_offset():
            self.change(tai_offset=tai_offset())

    def sign_with(self, key: Key | None) -> None:
        """Sign new headers with `key`; None: do not sign them any more."""
        with self._map("signing_keys") as keys:
            if key is None:
                self.change(signed=False)
            keys.set(_FIRST, pack_key(key), locked=True)
            if key is not None:
                self.change(signed=True)

    def key_id(self) -> int | None:
        """The id of the key that signs, None without one."""
        with self._map("signing_keys") as keys:
            return unpack_key_id(keys.get(_FIRST))

    def backends(self) -> list[Address]:
        """The servers that are selected by their address, sorted."""
        with self._map("backends") as backends:
            return sorted(unpack_backend(key) for key in backends)

    def udp_ports(self) -> list[int]:
        """The servers' ports to which datagrams get a header, sorted."""
        with self._map("udp_ports") as ports:
            return sorted(unpack_port(key) for key in ports)

    def counters(self) -> dict[str, int]:
        """All counters. `flows` are open connections, `entries` also ended ones in the table."""
        with self._map("counters") as counters:
            values = {
                name: sum(counters.get_each_cpu(number.to_bytes(4, "little")))
                for number, name in enumerate(COUNTERS)
            }
        return {
            "flows": values["flows_opened"] - values["flows_closed"],
            "entries": values["entries_made"] - values["entries_gone"],
            **values,
        }

    def max_flows(self) -> int:
        """The size of the table of flows."""
        with self._map("flows") as flows:
            return flows.max_entries


def checked_udp_ports(ports: Iterable[int], servers: Iterable[Address]) -> tuple[int, ...]:
    """InjectorError when no server has one of them, or there are too many. Without `servers` any
    port may be a server's."""
    found = tuple(dict.fromkeys(ports))
    if len(found) > UDP_PORTS_MAX:
        raise InjectorError(f"{len(found)} --udp ports, {UDP_PORTS_MAX} at most")
    of_servers = {port for _, port in servers}
    for port in found:
        if of_servers and port not in of_servers:
            known = ", ".join(map(str, sorted(of_servers)))
            raise InjectorError(f"--udp {port}: no server has this port; they have {known}")
    return found


def checked_backends(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """InjectorError when a host is no address, or there are too many."""
    found = tuple(addresses)
    if len(found) > BACKENDS_MAX:
        raise InjectorError(f"{len(found)} servers, {BACKENDS_MAX} at most: select by a mark")
    for address in found:
        try:
            pack_backend(address)
        except ValueError:
            raise InjectorError(f"--backend {address[0]}: not an IP address") from None
    return found
