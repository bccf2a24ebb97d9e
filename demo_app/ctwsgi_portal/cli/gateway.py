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
from ..gateway.agent import Agent
from ..gateway.ruleset import render
from ..gateway.settings import agent_settings, api_url, make_rules
from ..state import lazy_store
from .opened import load_config


@click.command()
@click.option("--remove", is_flag=True, help="Take the rules away and end: everybody may pass.")
@click.pass_obj
def agent(path: str, remove: bool) -> None:
    """Load the packet filter, and keep it in step with the store.

    When the agent ends, the filter stays: clients pass until their grants run out, and no other
    client gets in. Run one agent on each gateway, as a user with CAP_NET_ADMIN.
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
        Agent(agent_settings(config), lambda: lazy_store(config.portal.store)).run(stop)
    except (ConfigError, nft.NftError) as e:
        raise click.ClickException(str(e)) from None


def _when_told() -> threading.Event:
    """An event that SIGTERM or SIGINT sets. To be called before other threads begin.

    A thread waits for the signal. The main thread would run a handler, but it waits for a lock, and
    a signal that the kernel delivers to another thread does not wake it.
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
        wanted = make_rules(config)
    except ConfigError as e:
        raise click.ClickException(str(e)) from None
    url = api_url(config)
    if part in (None, "nft"):
        click.echo(render(wanted))
    if part in (None, "dnsmasq"):
        lines = dhcp.dnsmasq(url, config.gateway.names)
        if part is None:
            lines = _commented("for /etc/dnsmasq.d", lines)
        click.echo(lines, nl=False)
    if part is None:
        click.echo(dhcp.radvd(url, wanted.lan_interfaces), nl=False)


def _commented(title: str, lines: str) -> str:
    """As comments of nft's language, so that nft can load the whole output."""
    shown = "".join(f"# {line}\n" for line in lines.splitlines())
    return f"# {title}:\n{shown}" if lines else ""
