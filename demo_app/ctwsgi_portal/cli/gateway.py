# SPDX-License-Identifier: MIT
"""`ctwsgi-portal agent` and `ctwsgi-portal rules`: the commands of a gateway."""

from __future__ import annotations

import logging
import signal
import sys
import threading

import click

from ..config import ConfigError
from ..gateway import dhcp, nft
from ..gateway import settings as made
from ..gateway.agent import Agent
from ..gateway.ruleset import render
from ..state import late_store
from .opened import load_config


@click.command()
@click.option("--remove", is_flag=True, help="Take the rules away and end: everybody may pass.")
@click.pass_obj
def agent(path: str, remove: bool) -> None:
    """Load the packet filter, and keep it as the store says.

    When the agent ends, the filter stays: clients keep what they were granted until it runs out,
    nobody else gets in. One agent for each gateway; its user needs CAP_NET_ADMIN.
    """
    try:
        if remove:
            nft.unload()
            return
        config = load_config(path)
        logging.basicConfig(
            level=config.log.level.upper(), stream=sys.stderr, format="%(levelname)s: %(message)s"
        )
        stop = _when_told()
        Agent(made.settings(config), lambda: late_store(config.portal.store)).run(stop)
    except (ConfigError, nft.NftError) as e:
        raise click.ClickException(str(e)) from None


def _when_told() -> threading.Event:
    """Set by SIGTERM or SIGINT. Called before other threads begin.

    A thread takes the signal. A handler would be run by the main thread, which waits for a lock: a
    signal that the kernel gives to another thread does not wake it.
    """
    stop, signals = threading.Event(), {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        signal.sigwait(signals)
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop


@click.command()
@click.option("--dnsmasq", "part", flag_value="dnsmasq", help="Only the lines for dnsmasq.")
@click.option("--nft", "part", flag_value="nft", help="Only the packet filter's table.")
@click.pass_obj
def rules(path: str, part: str | None) -> None:
    """Print the packet filter's table, and the lines for DHCP, DNS and router advertisements."""
    config = load_config(path)
    try:
        wanted = made.rules(config)
    except ConfigError as e:
        raise click.ClickException(str(e)) from None
    url = made.api_url(config)
    if part in (None, "nft"):
        click.echo(render(wanted))
    if part in (None, "dnsmasq"):
        lines = dhcp.dnsmasq(url, config.gateway.names)
        if part is None:
            lines = _commented("for /etc/dnsmasq.d", lines)
        click.echo(lines, nl=False)
    if part is None:
        click.echo(dhcp.radvd(url, wanted.inside), nl=False)


def _commented(title: str, lines: str) -> str:
    """As comments of nft's language: what is printed stays one file that nft reads."""
    shown = "".join(f"# {line}\n" for line in lines.splitlines())
    return f"# {title}:\n{shown}" if lines else ""
