# SPDX-License-Identifier: MIT
"""Attach, replace, detach; and the maps of what is attached.

The maps of a device are pinned in /sys/fs/bpf/ctwsgi/NETNS/IFINDEX, for root only. They outlive
whoever attached the program. Attaching where it is attached already replaces the program in one
step: flows, counters and scratch space are handed over, settings, servers and key are new.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace

from ..origin import Address
from ..wire.auth import Key
from .errors import GatewayError
from .half_open import Resetter, openings
from .host import (
    BPFFS,
    Device,
    find_device,
    pins,
    require_bpffs,
    require_kernel,
    require_object,
    require_rights,
    tc_filters,
)
from .libbpf import EGRESS, INGRESS, BpfError, Hooks, Map, Object, maps_in_use
from .structs import (
    BACKENDS_MAX,
    COUNTERS,
    Settings,
    pack_backend,
    pack_key,
    unpack_backend,
    unpack_key_id,
)

PROGRAMS = {EGRESS: "ctwsgi_egress", INGRESS: "ctwsgi_ingress"}

HANDED_OVER = ("flows", "tokens", "sweepers", "counters", "works")
FRESH = ("settings", "signing_keys", "backends")

MAX_FLOWS = 1 << 18
"""Each takes 60 bytes from the start, and 300 more when it is used."""

OPENING = 1.0
"""Seconds that connections are given to be opened when the program is about to go."""

_FIRST = bytes(4)
"""The one key of an array of one."""


@dataclass(frozen=True)
class Wanted:
    """What is to be attached: the settings that people choose, and what goes beside them."""

    settings: Settings = field(default_factory=Settings)
    backends: tuple[Address, ...] = ()
    key: Key | None = None
    max_flows: int = MAX_FLOWS


def tai_offset() -> int:
    """Seconds that TAI is ahead of Unix time, as this kernel was told; often 0."""
    return round(time.clock_gettime(time.CLOCK_TAI) - time.clock_gettime(time.CLOCK_REALTIME))


class Injector:
    """A device of this network namespace, with the program on it or without."""

    def __init__(self, name: str) -> None:
        """GatewayError for a device that will not do."""
        self.device: Device = find_device(name)
        self._pins = pins(self.device.index)
        self._hooks = Hooks(self.device.index)

    @property
    def attached(self) -> bool:
        """Both programs are there."""
        return all(self._hooks.name(point) == name for point, name in PROGRAMS.items())

    def attach(self, wanted: Wanted) -> bool:
        """Puts the program there; True when it replaces one. GatewayError, and nothing changed."""
        path = require_object()
        require_rights()
        require_kernel()
        require_bpffs()
        self._require_own_place()
        remove_stale_pins()
        former = self._former() if self.attached else {}
        with ExitStack() as opened:
            program = opened.enter_context(Object(path))
            self._share(program, former, wanted)
            program.load()
            self._put(program, wanted, bool(former))
        for each in former.values():
            each.close()
        return bool(former)

    def _require_own_place(self) -> None:
        for point, name in PROGRAMS.items():
            found = self._hooks.name(point)
            if found not in (None, name):
                raise GatewayError(
                    f"{self.device.name}: somebody else's filter {found!r} is at our place: "
                    f"see `tc filter show dev {self.device.name} egress`"
                )

    def _former(self) -> dict[str, Map]:
        """What is handed over. Empty when the pins are gone: then it cannot be."""
        found: dict[str, Map] = {}
        for name in HANDED_OVER:
            with suppress(BpfError):
                found[name] = Map.pinned(self._pins / name)
        if found and len(found) != len(HANDED_OVER):
            raise GatewayError(f"{self._pins} is incomplete: detach {self.device.name} first")
        return found

    def _share(self, program: Object, former: dict[str, Map], wanted: Wanted) -> None:
        for name, each in former.items():
            if not program.fits(name, each):
                raise self._other_version(name)
            program.reuse(name, each)
        if not former:
            for name in ("flows", "tokens"):
                program.resize(name, wanted.max_flows)

    def _other_version(self, name: str) -> GatewayError:
        return GatewayError(
            f"{self.device.name} has a program of another version, whose {name} cannot be taken "
            "over: detach it first, in a quiet moment"
        )

    def _put(self, program: Object, wanted: Wanted, replaces: bool) -> None:
        """Maps are filled and pinned before the program sees a packet."""
        owns = self.settings().owns_qdisc if replaces else self._hooks.create()
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
        self._pins.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in HANDED_OVER + FRESH:
            program.map(name).pin(self._pins / name)
        for point, name in PROGRAMS.items():
            self._hooks.attach(point, program.program(name))

    def detach(self) -> int:
        """Takes the program away, and all that it remembers. Nothing happens without one.

        Before, nothing new begins for a moment, so that what is being opened can be done. What is
        not then is reset; returns how many.
        """
        require_rights()
        reset = 0
        if self.attached:
            with suppress(GatewayError):  # of another version: it goes all the same
                reset = self._end_openings()
        self._remove()
        return reset

    def _end_openings(self) -> int:
        self.change(closing=True)
        try:
            with self._map("flows") as flows:
                end = time.monotonic() + OPENING
                while any(openings(flows)) and time.monotonic() < end:
                    time.sleep(0.02)
                left = list(openings(flows))
            with Resetter(self.device.name) as resetter:
                for each in left:
                    with suppress(OSError):  # what cannot be told that it is over finds out
                        resetter.reset(each)
        except BaseException:
            self.change(closing=False)
            raise
        return len(left)

    def _remove(self) -> None:
        owns = False
        with suppress(GatewayError):
            owns = self.settings().owns_qdisc
        for point, name in PROGRAMS.items():
            if self._hooks.name(point) == name:
                self._hooks.detach(point)
        if owns and not self._has_other_filters():
            with suppress(BpfError):
                self._hooks.destroy()
        for name in HANDED_OVER + FRESH:
            (self._pins / name).unlink(missing_ok=True)
        for folder in (self._pins, self._pins.parent):
            with suppress(OSError):
                folder.rmdir()
        remove_stale_pins()

    def _has_other_filters(self) -> bool:
        return bool(tc_filters(self.device.name))

    @contextmanager
    def _map(self, name: str) -> Iterator[Map]:
        try:
            found = Map.pinned(self._pins / name)
        except BpfError as e:
            if e.code not in (errno.ENOENT, errno.ENOTDIR):
                raise
            raise GatewayError(
                f"nothing is attached to {self.device.name}: ctwsgi gateway attach "
                f"{self.device.name}"
            ) from None
        try:
            yield found
        finally:
            found.close()

    def settings(self) -> Settings:
        """Those in force. GatewayError when nothing is attached."""
        with self._map("settings") as settings:
            try:
                return Settings.unpack(settings.get(_FIRST))
            except ValueError:
                raise self._other_version("settings") from None

    def change(self, **values: object) -> None:
        """Some of the settings, from the next packet on."""
        changed = replace(self.settings(), **values)  # type: ignore[arg-type]
        with self._map("settings") as settings:
            settings.set(_FIRST, changed.pack())

    def refresh_time(self) -> None:
        """After the kernel was told another offset of TAI."""
        if self.settings().tai_offset != tai_offset():
            self.change(tai_offset=tai_offset())

    def sign_with(self, key: Key | None) -> None:
        """The key of the headers from now on. None: headers are not signed any more."""
        with self._map("signing_keys") as keys:
            if key is None:
                self.change(signed=False)
            keys.set(_FIRST, pack_key(key), locked=True)
            if key is not None:
                self.change(signed=True)

    def key_id(self) -> int | None:
        """Of the key that signs, None without one."""
        with self._map("signing_keys") as keys:
            return unpack_key_id(keys.get(_FIRST))

    def backends(self) -> list[Address]:
        """The servers that are selected by their address."""
        with self._map("backends") as backends:
            return sorted(unpack_backend(key) for key in backends)

    def counters(self) -> dict[str, int]:
        """All of them; `flows` that are alive, and `entries` of the table, some of ended ones."""
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
        """How many there can be."""
        with self._map("flows") as flows:
            return flows.max_entries


def remove_stale_pins() -> None:
    """Those of devices that are gone, with their namespaces perhaps: no filter has their maps.

    The egress program does not tell: its timer holds it, and is held by the pinned map.
    """
    folders = [*(BPFFS / "ctwsgi").glob("*/*")]
    used = maps_in_use(PROGRAMS[INGRESS]) if folders else set()
    for folder in folders:
        try:
            settings = Map.pinned(folder / "settings")
        except BpfError:
            continue
        settings.close()
        if settings.id not in used:
            # Another command may be at it as well.
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                folder.parent.rmdir()


def checked_backends(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """GatewayError when a host is no address, or there are too many."""
    found = tuple(addresses)
    if len(found) > BACKENDS_MAX:
        raise GatewayError(f"{len(found)} servers, {BACKENDS_MAX} at most: select by a mark")
    for address in found:
        try:
            pack_backend(address)
        except ValueError:
            raise GatewayError(f"--backend {address[0]}: not an IP address") from None
    return found
