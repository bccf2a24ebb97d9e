# SPDX-License-Identifier: MIT
"""Shared by the end-to-end cases: a server's process, the rules for its port, and probes of it."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_ERROR, SOL_SOCKET
from socket import socket as Socket

from ctwsgi.guard import UNTRANSLATED, guard_rules
from tests import ROOT

from .case import Trial
from .judge import Failure, require
from .kernel import until
from .net import Namespace
from .places import Place

PYTHON = str(ROOT / ".venv" / "bin" / "python")
"""The Python that has gevent, gunicorn and Flask."""

TABLE = "endtoend"
STARTS = 90.0
"""Seconds within which a program must listen."""


def family(place: Place) -> int:
    """The address family of the place's sockets."""
    return AF_INET if place.version == 4 else AF_INET6


def _rules(place: Place, port: int, guarded: bool) -> str:
    ip, host = ("ip", place.target) if place.version == 4 else ("ip6", f"[{place.target}]")
    hook = "input" if place.local else "forward"
    # No case sends a packet that conntrack does not follow: one rule suffices.
    [rule] = guard_rules(f"tcp dport {port}", (UNTRANSLATED,))
    rule = rule.replace(" drop", " counter drop")  # for dials()
    guard = f"  chain guard {{\n    type filter hook {hook} priority filter\n    {rule}\n  }}\n"
    # Priority before the runner's own table, which translates to the port of its listeners.
    return f"""table inet {TABLE} {{
  chain translate {{
    type nat hook prerouting priority dstnat - 1
    {ip} daddr {place.network(True)} meta l4proto tcp dnat {ip} to {host}:{port}
  }}
{guard if guarded else ""}}}
"""


@contextmanager
def translated(trial: Trial, port: int, guarded: bool = True) -> Iterator[None]:
    """In the `with`, NAT sends the case's original destinations to `port`."""
    trial.gateway.nft(_rules(trial.place, port, guarded))
    try:
        yield
    finally:
        trial.gateway.nft(f"delete table inet {TABLE}")


def nft_count(space: Namespace, table: str, chain: str) -> int:
    """The sum of a chain's packet counters."""
    listing = space.run("nft", "list", "chain", "inet", table, chain)
    return sum(map(int, re.findall(r"counter packets (\d+)", listing)))


@contextmanager
def signing(trial: Trial, line: str) -> Iterator[None]:
    """In the `with`, headers are signed with the key of this line, `ID HEX`."""
    trial.injector.set_keys(trial.gateway, line)
    try:
        yield
    finally:
        trial.injector.set_keys(trial.gateway, line.split()[0])


async def dials(trial: Trial, port: int, guarded: bool) -> bool:
    """Whether a SYN to the server's own address, without NAT, gets an answer."""
    place = trial.place
    with trial.client.socket(family(place)) as sock:
        if sock.connect_ex((place.target, port)) not in (0, errno.EINPROGRESS):
            raise Failure("could not dial at all")
        await until(
            lambda: _answered(sock) or (guarded and nft_count(trial.gateway, TABLE, "guard")),
            "an answer to the SYN, or a count in the guard",
        )
        return _answered(sock)


def _answered(sock: Socket) -> bool:
    if sock.getsockopt(SOL_SOCKET, SO_ERROR):
        return True  # an RST is an answer as well
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


class Program:
    """A server that runs from the first case that needs it to the end of the run."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.name = name
        self._output = (self.folder / "output").open("ab+")
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        argv: Sequence[str],
        descriptors: Sequence[int] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the server in this thread's current namespace."""
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
        )
        atexit.register(self._end, self._process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)

    def log(self) -> str:
        """Its output so far."""
        return os.pread(self._output.fileno(), 1 << 24, 0).decode(errors="replace")

    async def logged(self, text: str, since: int = 0, limit: float = STARTS) -> None:
        """Waits until it has printed `text` after the first `since` characters."""

        def there() -> bool:
            if text in self.log()[since:]:
                return True
            self.require_alive()
            return False

        await until(there, f"{text!r} from {self.name}", limit)

    def require_alive(self) -> None:
        """Raises Failure with the end of its output when it is not running."""
        status = self._process.poll() if self._process else "never started"
        require(status is None, f"{self.name} ended ({status}): {self.log()[-600:]}")
