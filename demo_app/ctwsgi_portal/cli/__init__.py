# SPDX-License-Identifier: MIT
"""The command `ctwsgi-portal`.

A subcommand is imported when it is called: the agent works without Flask, and --help is fast.
"""

from __future__ import annotations

import click

from ctwsgi.cli.lazy_group import LazyGroup

from .. import __version__
from ..config import DEFAULT_PATH

_COMMANDS = {
    "init": ("ctwsgi_portal.cli.init:init", "Write a configuration and a secret."),
    "check": ("ctwsgi_portal.cli.check:check", "Find mistakes in a configuration."),
    "run": ("ctwsgi_portal.cli.run:run", "Serve the portal."),
    "agent": (
        "ctwsgi_portal.cli.gateway:agent",
        "Keep a gateway's packet filter in step with the store.",
    ),
    "rules": (
        "ctwsgi_portal.cli.gateway:rules",
        "Print a gateway's packet filter, and the lines for DHCP.",
    ),
    "vouchers": ("ctwsgi_portal.cli.vouchers:vouchers", "Create, list and revoke vouchers."),
    "sessions": ("ctwsgi_portal.cli.sessions:sessions", "List and end sessions."),
    "password": ("ctwsgi_portal.cli.init:password", "Hash a password for [users] or [admin]."),
}


@click.group(
    cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "-c",
    "--config",
    default=DEFAULT_PATH,
    envvar="PORTAL_CONFIG",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="The configuration file.",
)
@click.version_option(__version__, "-V", "--version", message="ctwsgi-portal %(version)s")
@click.pass_context
def main(ctx: click.Context, config: str) -> None:
    """A captive portal for redirected clients."""
    ctx.obj = config
