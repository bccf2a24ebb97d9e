# SPDX-License-Identifier: MIT
"""Boots a kernel in QEMU and runs one command in it, as root, on the host's own root file system.

    python -m tests.kernel.boot 6.12 -- COMMAND...      # a word with spaces goes to bash as it is

The guest sees the host's / read-only below an overlay in memory. It has no network interface but
`lo`, and its only writable folder of the host is the one given as `results`. Output is printed as
it comes. The exit status is the command's, 124 after the time limit, 125 when the guest died.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests import ROOT

from .initramfs import initramfs
from .kernels import Kernel, MissingError, custom
from .newest import NAMES, named

COMMAND_LINE = (
    # The serial port is slow, so it shows errors only; dmesg has the whole log. A panic first
    # prints the log (bit 5 of panic_print) and each processor's backtrace (bit 6).
    "console=ttyS0 quiet loglevel=4 log_buf_len=8M panic_print=0x60 "
    # A panic reboots, and QEMU ends at a reboot (-no-reboot). Guest._provoke() sends the NMI.
    "panic=-1 oops=panic unknown_nmi_panic "
    # Together these halve the time to the first command.
    "mitigations=off nopti audit=0 apparmor=0 selinux=0 cryptomgr.notests random.trust_cpu=on "
    "rcupdate.rcu_expedited=1 "
    # Emulated clocks are late when the host is busy. Without these the kernel would stop using
    # them.
    "no_timer_check tsc=reliable "
    "nokaslr net.ifnames=0"
)

TIMED_OUT, DIED = 124, 125


@dataclass(frozen=True)
class Machine:
    """The guest's hardware, and the time limits."""

    processors: int = 2
    memory: int = 1024
    """MiB. They also hold what the guest writes to its root file system."""
    limit: float = 600
    """Seconds for the command."""
    silence: float = 300
    """Seconds without output after which the guest counts as stuck."""
    boot: float = 240
    """Seconds until the command has started."""
    append: str = ""
    """More words for the kernel's command line."""
    emulation: tuple[str, ...] = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-la57")
    """QEMU's options for the accelerator and the CPU model."""


@dataclass
class Outcome:
    """How a guest ended."""

    status: int
    """The command's exit status, or TIMED_OUT, or DIED."""
    reason: str = ""
    """Why the command has no status; empty when it has one."""
    log: str = ""
    """The kernel's log, from dmesg, or else the console."""
    boot: float = 0.0
    """Seconds from the start of QEMU to the start of the command."""
    seconds: float = 0.0
    """Seconds that the command took."""
    stopped: bool = False
    """`enough()` ended the guest; it has no status and no log."""
    notes: list[str] = field(default_factory=list)
    """Other events for the reader, such as a second boot."""


def run(
    kernel: Kernel,
    command: str,
    *,
    output: Callable[[bytes], object],
    machine: Machine | None = None,
    results: Path | None = None,
    environ: Mapping[str, str] | None = None,
    enough: Callable[[], bool] | None = None,
) -> Outcome:
    """Boots `kernel`, runs `command` with bash in the project's folder, waits for the end.

    A guest that dies before the command has started is booted once more, and `notes` says so: about
    one boot in fifty fails, because QEMU emulates code wrongly that patches itself. A guest that
    dies later is not booted again.

    `enough()` is polled. When it returns true, the guest is killed, and that is no failure.
    """
    machine = machine or Machine()
    notes: list[str] = []
    for last in (False, True):
        with Guest(kernel, command, output, machine, results, environ or {}) as guest:
            outcome = guest.outcome(enough or (lambda: False))
            started = guest.started
        outcome.notes = notes
        if started or last or not outcome.reason:
            break
        notes.append(f"booted again: {outcome.reason} before the command had started")
    return outcome


class Guest:
    """A running QEMU, and the folder that it shares with this process."""

    def __init__(
        self,
        kernel: Kernel,
        command: str,
        output: Callable[[bytes], object],
        machine: Machine,
        results: Path | None,
        environ: Mapping[str, str],
    ) -> None:
        self._machine = machine
        self._output = output
        self._folder = tempfile.TemporaryDirectory(prefix="ctwsgi-guest-")
        self._control = Path(self._folder.name)
        self._write_command(command, environ)
        if results:
            (self._control / "results").write_text(str(results.resolve()))
        self._began = self._heard = time.monotonic()
        self._process = subprocess.Popen(
            self._qemu(kernel, results),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(self._control / "qemu-errors").open("wb"),
        )
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        self._folder.cleanup()

    def _write_command(self, command: str, environ: Mapping[str, str]) -> None:
        told = {"HOME": os.environ.get("HOME", "/root"), "PATH": os.environ["PATH"], **environ}
        exports = "".join(f"export {name}={shlex.quote(told[name])}\n" for name in told)
        text = f"{exports}cd {shlex.quote(str(ROOT))}\n{command}\n"
        (self._control / "command").write_text(text)

    def _qemu(self, kernel: Kernel, results: Path | None) -> list[str]:
        """QEMU's command line. It emulates: stock kernels do not boot with every /dev/kvm."""

        def share(name: str, path: Path, readonly: bool = False) -> list[str]:
            fsdev = f"local,id={name},path={path},security_model=none,multidevs=remap"
            fsdev += ",readonly=on" if readonly else ""
            return ["-fsdev", fsdev, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]

        machine = self._machine
        return [
            # The kernel kills QEMU when this process ends, however it ends.
            *("setpriv", "--pdeathsig", "KILL"),
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "q35", *machine.emulation),
            *("-smp", str(machine.processors), "-m", str(machine.memory), "-no-reboot"),
            *("-kernel", str(kernel.vmlinux), "-initrd", str(initramfs(kernel))),
            *("-append", f"{COMMAND_LINE} {machine.append}"),
            *("-serial", f"file:{self._control / 'console'}"),
            *("-monitor", f"unix:{self._control / 'monitor'},server=on,wait=off"),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            # Not stdio, which also reads: with a closed input the guest would block for ever.
            *("-chardev", "file,id=output,path=/dev/stdout,append=on"),
            *("-device", "virtserialport,chardev=output,name=output"),
            *share("root", Path("/"), readonly=True),
            *share("modules", kernel.modules, readonly=True),
            *share("control", self._control),
            *(share("results", results.resolve()) if results else ()),
        ]

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        while piece := os.read(self._process.stdout.fileno(), 65536):
            self._heard = time.monotonic()
            self._output(piece)

    @property
    def started(self) -> bool:
        return (self._control / "started").exists()

    def outcome(self, enough: Callable[[], bool]) -> Outcome:
        """Waits for the end of the guest, and ends it at a time limit."""
        began = None
        reason = ""
        while self._process.poll() is None and not reason:
            now = time.monotonic()
            if began is None and self.started:
                began = self._heard = now
            if began is None and now > self._began + self._machine.boot:
                reason = f"not booted after {self._machine.boot:.0f} s"
            elif began is not None and now > began + self._machine.limit:
                reason = f"not done after {self._machine.limit:.0f} s"
            elif began is not None and now > self._heard + self._machine.silence:
                reason = f"silent for {self._machine.silence:.0f} s"
            elif began is not None and enough():
                self._process.kill()
                return Outcome(0, stopped=True)
            time.sleep(0.05)
        ended = time.monotonic()
        if reason:
            self._provoke()
        outcome = self._read_status(reason)
        if began is not None:
            outcome.boot, outcome.seconds = began - self._began, ended - began
        return outcome

    def _provoke(self) -> None:
        """Makes a stuck kernel panic, so that the console has each processor's backtrace."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            with suppress(OSError):  # QEMU may have ended just now
                monitor.connect(str(self._control / "monitor"))
                monitor.sendall(b"nmi\n")
            try:
                # The backtraces take a while over an emulated serial line.
                self._process.wait(120)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _read_status(self, reason: str) -> Outcome:
        def read(name: str) -> str:
            path = self._control / name
            return path.read_text(errors="replace") if path.exists() else ""

        self._reader.join()
        if reason:
            return Outcome(TIMED_OUT, reason, read("console"))
        if status := read("status").strip():
            return Outcome(int(status), "", read("dmesg"))
        errors = read("qemu-errors").strip()
        return Outcome(DIED, errors or "the guest died", read("console"))


REQUIREMENTS = {
    "apt-get": "apt",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "modprobe": "kmod",
    "strip": "binutils",
    "zstd": "zstd",
    "gcc": "gcc",
    "make": "make",
    "pahole": "pahole",
    # The suites use these in the guest, which has the host's root file system.
    "/usr/bin/python3": "python3",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "ip": "iproute2",
}
"""Commands, and the Debian packages that have them. tests/setup installs the same packages."""


def lacking() -> list[str]:
    """The packages that are missing."""
    return [name for command, name in REQUIREMENTS.items() if not shutil.which(command)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel", help=f"{', '.join(NAMES)}, or a vmlinux (with --modules)")
    parser.add_argument("--modules", type=Path, help="the lib/modules that belongs to a vmlinux")
    parser.add_argument("--results", type=Path, help="a folder that the guest may write to")
    parser.add_argument("--dmesg", type=Path, help="a file for the kernel's log")
    parser.add_argument("--limit", type=float, default=600, help="seconds")
    parser.add_argument("--memory", type=int, default=1024, help="MiB")
    parser.add_argument("--processors", type=int, default=2)
    parser.add_argument("--append", default="", help="words for the kernel's command line")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        kernel = custom(Path(options.kernel), options.modules) if options.modules else None
        kernel = kernel or named(options.kernel)
    except MissingError as error:
        print(error, file=sys.stderr)
        return DIED
    outcome = run(
        kernel,
        options.command[0] if len(options.command) == 1 else shlex.join(options.command),
        output=lambda piece: os.write(1, piece),
        machine=Machine(
            options.processors,
            options.memory,
            limit=options.limit,
            silence=options.limit,
            append=options.append,
        ),
        results=options.results,
    )
    if options.dmesg:
        options.dmesg.write_text(outcome.log)
    for note in outcome.notes:
        print(note, file=sys.stderr)
    if outcome.reason:
        print(*outcome.log.splitlines()[-60:], sep="\n", file=sys.stderr)
        print(outcome.reason, file=sys.stderr)
    else:
        print(f"booted in {outcome.boot:.1f} s, ran for {outcome.seconds:.1f} s", file=sys.stderr)
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
