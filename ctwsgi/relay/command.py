# SPDX-License-Identifier: MIT
"""`ctwsgi relay`: makes a Relay from the options, runs it, and handles signals.

When it cannot start, it exits with code 2 and one line that says what to do.
"""

from __future__ import annotations

import logging
import resource
import signal
import socket

import click
import gevent
from gevent.event import Event

from ..cli.errors import CannotDo
from ..cli.signing import load_signer, reload_signer
from ..loops import parse_self
from ..wire.address import show
from ..wire.auth import Key, KeyFileError
from . import Bounds, Ctframe, Injection, Proxy, Relay, listen, parse_listen, parse_upstream

log = logging.getLogger("ctwsgi.relay")

_DEFAULTS = Bounds()

_SPARE_DESCRIPTORS = 64
"""Descriptors for listeners, the event loop, the log, and files that Python opens."""


@click.command()
@click.option(
    "--listen",
    "listens",
    multiple=True,
    required=True,
    metavar="ADDR:PORT",
    help="Where redirected connections arrive. Repeatable; IPv4 and IPv6 each need one.",
)
@click.option(
    "--upstream",
    required=True,
    metavar="HOST:PORT",
    help="The server that reads the origin: HOST:PORT, [V6]:PORT or unix:PATH.",
)
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice(["ctframe", "proxy"]),
    help="How the origin is written: a ctframe header per chunk (IPv4 only), or one "
    "PROXY protocol v2 header.",
)
@click.option(
    "--auth-key-file",
    metavar="FILE",
    type=click.Path(),
    help="Sign the PROXY header with the lowest key id of FILE (lines of ID HEX, mode "
    "0600). Read again on SIGHUP.",
)
@click.option("--crc32c", is_flag=True, help="Add a CRC32C checksum to the PROXY header.")
@click.option(
    "--self",
    "own",
    multiple=True,
    metavar="ADDR[:PORT]",
    help="An address that NAT brings to this host, refused as a loop. Repeatable.",
)
@click.option(
    "--connect-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=_DEFAULTS.connect_timeout,
    show_default=True,
    help="For reaching the upstream.",
)
@click.option(
    "--idle-timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=_DEFAULTS.idle_timeout,
    show_default=True,
    help="Reset a connection on which neither direction has moved; 0 = never.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    metavar="N",
    default=_DEFAULTS.max_connections,
    show_default=True,
    help="More wait in the kernel's queue.",
)
@click.option(
    "--graceful-timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="On SIGTERM or SIGINT, how long connections may go on.",
)
@click.option("--verbose", is_flag=True, help="Log every connection.")
def relay(
    listens: tuple[str, ...],
    upstream: str,
    format_: str,
    auth_key_file: str | None,
    crc32c: bool,
    own: tuple[str, ...],
    connect_timeout: float,
    idle_timeout: float,
    max_connections: int,
    graceful_timeout: float,
    verbose: bool,
) -> None:
    """Relay redirected connections and write their original destination upstream.

    For REDIRECT on this host or gateway, where no kernel module can be loaded. SIGHUP reads the
    key file again, SIGUSR1 prints the counters; a second SIGTERM ends at once.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    injection = _make_injection(format_, auth_key_file, crc32c)
    try:
        self_addresses = [parse_self(text) for text in own]
        upstreams = parse_upstream(upstream)
    except ValueError as e:
        raise CannotDo(str(e)) from None
    bounds = Bounds(connect_timeout, idle_timeout, max_connections)
    listeners = [_listen(text) for text in listens]
    _allow_descriptors(2 * max_connections + _SPARE_DESCRIPTORS)
    running = Relay(listeners, upstreams, injection, own=self_addresses, bounds=bounds, log=log)
    stopping = _handle_signals(running, injection, auth_key_file)
    running.start()
    for listener in listeners:
        log.info("listening on %s", show(*listener.getsockname()[:2]))
    log.info("writing %s to %s", format_, " or ".join(map(str, upstreams)))
    stopping.wait()
    running.close()
    log.info("stopping, up to %g s for what runs", graceful_timeout)
    running.drain(graceful_timeout)
    _report(running)


def _handle_signals(running: Relay, injection: Injection, key_file: str | None) -> Event:
    """Installs the handlers. The first SIGTERM or SIGINT sets the event; the second aborts."""
    stopping = Event()

    def stop() -> None:
        if stopping.is_set():
            running.abort_all()
        stopping.set()

    gevent.signal_handler(signal.SIGTERM, stop)
    gevent.signal_handler(signal.SIGINT, stop)
    gevent.signal_handler(signal.SIGUSR1, _report, running)
    gevent.signal_handler(signal.SIGHUP, _reload, injection, key_file)
    return stopping


def _report(running: Relay) -> None:
    log.info("counters: %s", running.summary())


def _make_injection(format_: str, key_file: str | None, crc32c: bool) -> Injection:
    if format_ == "proxy":
        try:
            return Proxy(key=load_signer(key_file), crc32c=crc32c)
        except KeyFileError as e:
            raise CannotDo(f"--auth-key-file: {e}") from None
    if key_file or crc32c:
        option = "--auth-key-file" if key_file else "--crc32c"
        raise CannotDo(f"{option}: ctframe has no room for it, use --format proxy")
    return Ctframe()


def _reload(injection: Injection, key_file: str | None) -> None:
    def sign_with(key: Key) -> None:
        assert isinstance(injection, Proxy)  # no other has a key file
        injection.key = key

    reload_signer(key_file, sign_with, log)


def _listen(text: str) -> socket.socket:
    try:
        return listen(parse_listen(text))
    except ValueError as e:
        raise CannotDo(f"--listen: {e}") from None
    except OSError as e:
        raise CannotDo(
            f"--listen: cannot listen on {text}: {e.strerror}; choose a free address of this host"
        ) from None


def _allow_descriptors(wanted: int) -> None:
    """Raises the soft limit to `wanted`; warns if the hard limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft == infinite or soft >= wanted:
        return
    granted = wanted if hard == infinite else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted:
        log.warning("%d descriptors allowed, %d wanted: raise `ulimit -n`", granted, wanted)
