# SPDX-License-Identifier: MIT
"""`ctwsgi gateway`: attach the eBPF injector to a device, by hand or as a service.

Every failure ends with exit status 2 and one line that says what to do.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from ..cli.errors import CannotDo
from ..cli.signing import load_signer, reload_signer
from ..wire.address import split_endpoint
from ..wire.auth import Key, KeyFileError
from . import rules as setups
from .errors import InjectorError
from .injector import MAX_FLOWS, Injector, Wanted, checked_backends, checked_udp_ports
from .status import Status, as_json, as_prometheus
from .structs import Selection, Settings

log = logging.getLogger("ctwsgi.gateway")

REFRESH = 30.0
"""Seconds between two checks of `run`: the offset of TAI, and whether the program is attached."""

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _one_line_errors(function: _Function) -> _Function:
    """Print an InjectorError or KeyFileError as one line, and end with status 2."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (InjectorError, KeyFileError) as e:
            raise CannotDo(str(e)) from None

    return wrapped  # type: ignore[return-value]


def _mark(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Parse `VALUE` or `VALUE/MASK`, in any base."""
    if text is None:
        return None
    value, _, mask = text.partition("/")
    try:
        numbers = int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF
    except ValueError:
        raise click.BadParameter("VALUE or VALUE/MASK, as 0x61 or 0x1/0xf") from None
    if not all(0 <= number < 1 << 32 for number in numbers) or numbers[0] & ~numbers[1]:
        raise click.BadParameter("32 bits, and no bit of VALUE outside of MASK")
    return numbers


def _addresses(
    ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    try:
        endpoints = tuple(map(split_endpoint, texts))
    except ValueError as e:
        raise click.BadParameter(str(e)) from None
    if any(port == 0 for _, port in endpoints):
        raise click.BadParameter("port 0 is no server's: write 1 to 65535")
    return endpoints


_OPTIONS = (
    click.option(
        "--backend",
        "backends",
        multiple=True,
        metavar="HOST:PORT",
        callback=_addresses,
        help="Only connections to this server. Repeatable; without it and --mark: all that are "
        "translated.",
    ),
    click.option(
        "--mark",
        metavar="VALUE[/MASK]",
        callback=_mark,
        help="Only connections with this conntrack mark (nft: ct mark set VALUE).",
    ),
    click.option(
        "--udp",
        "udp_ports",
        multiple=True,
        metavar="PORT",
        type=click.IntRange(1, 65535),
        help="Of what is selected, also datagrams to this port of a server, each with a header. "
        "Repeatable.",
    ),
    click.option(
        "--auth-key-file",
        metavar="FILE",
        type=click.Path(),
        help="Sign the header with the lowest key id of FILE (lines of ID HEX, mode 0600).",
    ),
    click.option(
        "--max-flows",
        metavar="N",
        type=click.IntRange(1, 1 << 24),
        default=MAX_FLOWS,
        show_default=True,
        help="Connections that can be open at once. Only a detach and an attach change it.",
    ),
    click.option(
        "--existing",
        type=click.Choice(["drop", "pass"]),
        default="drop",
        show_default=True,
        help="What happens to connections that are older than the program.",
    ),
    click.option(
        "--sweep",
        metavar="SECONDS",
        type=click.FloatRange(0.1, 3600),
        default=30.0,
        show_default=True,
        help="How often to look for connections that conntrack has no entry for any more.",
    ),
    click.option(
        "--one-armed",
        is_flag=True,
        help="Clients may be behind the same device, and can then send in the servers' names: "
        "needs --auth-key-file.",
    ),
)


def _attach_options(function: _Function) -> _Function:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _wanted(
    backends: tuple[tuple[str, int], ...],
    mark: tuple[int, int] | None,
    udp_ports: tuple[int, ...],
    auth_key_file: str | None,
    max_flows: int,
    existing: str,
    sweep: float,
    one_armed: bool,
) -> Wanted:
    if backends and mark:
        raise click.UsageError("--backend or --mark, not both")
    if one_armed and not auth_key_file:
        raise click.UsageError(
            "--one-armed needs --auth-key-file: clients can forge unsigned headers"
        )
    selection = Selection.TRANSLATED
    if backends or mark:
        selection = Selection.BACKENDS if backends else Selection.MARK
    value, mask = mark or (0, 0)
    settings = Settings(
        selection=selection,
        mark=value,
        mask=mask,
        one_armed=one_armed,
        pass_existing=existing == "pass",
        sweep=round(1000 * sweep),
    )
    return Wanted(
        settings,
        checked_backends(backends),
        checked_udp_ports(udp_ports, backends),
        load_signer(auth_key_file),
        max_flows,
    )


@click.group()
def gateway() -> None:
    """Inject the origin on a gateway, by eBPF: a PROXY v2 header per translated connection, and
    with --udp per translated datagram.

    DEV is the device that leads to the servers. All commands but `rules` need root.
    """


@gateway.command()
@click.argument("device", metavar="DEV")
@_attach_options
@_one_line_errors
def attach(device: str, **options: Any) -> None:
    """Attach to DEV, or replace what is attached without losing a connection."""
    injector, wanted = Injector(device), _wanted(**options)
    click.echo(f"{device}: {injector.attach(wanted).value}")
    if injector.max_flows() != wanted.max_flows:
        click.echo(f"  {_kept_size(injector, wanted)}")


def _kept_size(injector: Injector, wanted: Wanted) -> str:
    return (
        f"--max-flows {wanted.max_flows}: the table keeps its {injector.max_flows()} entries; only "
        "a detach and an attach change it"
    )


@gateway.command()
@click.argument("device", metavar="DEV")
@_one_line_errors
def detach(device: str) -> None:
    """Detach from DEV. First close the listener: new connections will have no header."""
    injector = Injector(device)
    was = injector.is_known
    reset = injector.detach()
    click.echo(f"{device}: {'detached' if was else 'nothing was attached'}")
    if reset:
        click.echo(f"  reset because their header had not arrived: {reset}")


@gateway.command()
@click.argument("devices", metavar="DEV...", nargs=-1, required=True)
@click.option("--json", "style", flag_value="json", help="A JSON list.")
@click.option("--prometheus", "style", flag_value="prometheus", help="Prometheus' text format.")
@_one_line_errors
def status(devices: tuple[str, ...], style: str | None) -> None:
    """Show counters and flows. Exit status 1 when a DEV has lost its program."""
    statuses = [Status.of(Injector(device)) for device in devices]
    if style == "json":
        click.echo(as_json(statuses))
    elif style == "prometheus":
        click.echo(as_prometheus(statuses), nl=False)
    else:
        click.echo("\n".join(each.text() for each in statuses))
    if not all(each.attached for each in statuses):
        raise SystemExit(1)


@gateway.command()
@click.argument("device", metavar="DEV")
@_attach_options
@_one_line_errors
def run(device: str, **options: Any) -> None:
    """Attach to DEV and keep running. SIGHUP reads the key file again.

    If the program was removed from DEV, it is attached again. On SIGTERM the command ends and the
    program stays attached: `ctwsgi gateway detach` removes it.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Blocked, and taken by sigtimedwait(): none is lost between two calls.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    kept = _Kept(Injector(device), _wanted(**options))
    log.info("%s: %s", device, kept.attach())
    _notify("READY=1")
    while True:
        found = signal.sigtimedwait(_SIGNALS, REFRESH)
        if found and found.si_signo != signal.SIGHUP:
            break
        if found:
            failures = (KeyFileError, InjectorError)
            reload_signer(options["auth_key_file"], kept.sign_with, log, failures)
        kept.refresh()
    _notify("STOPPING=1")
    log.info("%s: left attached", device)


class _Kept:
    """The program that `run` keeps attached to a device, and what it is attached with."""

    def __init__(self, injector: Injector, wanted: Wanted) -> None:
        self._injector = injector
        self._wanted = wanted

    def attach(self) -> str:
        """Attach it, and say what that was."""
        done = self._injector.attach(self._wanted).value
        if self._injector.max_flows() != self._wanted.max_flows:
            done += f"; {_kept_size(self._injector, self._wanted)}"
        return done

    def sign_with(self, key: Key) -> None:
        """Sign with `key`, also after the program is attached again."""
        if self._injector.attached:
            self._injector.sign_with(key)
        self._wanted = replace(self._wanted, key=key)

    def refresh(self) -> None:
        """Attach the program again if it is gone, and keep its time right."""
        name = self._injector.device.name
        try:
            if not self._injector.attached:
                log.warning("%s: the program was gone: %s", name, self.attach())
            self._injector.refresh_time()
        except InjectorError as e:
            log.error("%s: %s", name, e)


def _notify(state: str) -> None:
    """Tell systemd, as sd_notify(3) does."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), "\0" + path[1:] if path[0] == "@" else path)
        except OSError as e:
            log.warning("systemd does not listen: %s", e.strerror)


@gateway.command()
@click.argument("device", metavar="DEV")
@click.option(
    "--server",
    "servers",
    required=True,
    multiple=True,
    metavar="HOST:PORT",
    callback=_addresses,
    help="Where connections go; at most one server of each IP version.",
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    default=(80,),
    show_default=True,
    help="The port that clients dial. Repeatable.",
)
@click.option(
    "--udp",
    "udp_ports",
    multiple=True,
    metavar="PORT",
    type=click.IntRange(1, 65535),
    help="A server's port that datagrams go to as well. Repeatable.",
)
@click.option("--mark", metavar="VALUE", callback=_mark, help="Select by this conntrack mark.")
@click.option(
    "--clients",
    metavar="DEV",
    default="",
    help="The clients' device. Without it the rules also catch the servers' own traffic.",
)
@click.option("--auth-key-file", metavar="FILE", help="The key file that the unit names.")
@click.option("--unit", is_flag=True, help="Print the systemd unit instead of the rules.")
@_one_line_errors
def rules(
    device: str,
    servers: tuple[tuple[str, int], ...],
    ports: tuple[int, ...],
    udp_ports: tuple[int, ...],
    mark: tuple[int, int] | None,
    clients: str,
    auth_key_file: str | None,
    unit: bool,
) -> None:
    """Print the nft rules for a setup, or a systemd unit that attaches and then loads them."""
    datagrams = checked_udp_ports(udp_ports, servers)
    setup = setups.Setup(device, servers, ports, mark[0] if mark else None, clients, datagrams)
    if unit:
        # An absolute path: it may be in a virtual environment that systemd's PATH does not have.
        program = shutil.which(sys.argv[0]) or f"{sys.executable} -m ctwsgi"
        click.echo(setups.unit(setup, auth_key_file, program), nl=False)
    else:
        words = " ".join(setups.attach_words(setup, auth_key_file))
        click.echo(f"# before these rules: {words}\n{setups.ruleset(setup)}", nl=False)
