"""The command `ctwsgi-portal`. Subcommands are imported when they are called: the agent needs no
Flask, and --help is fast.
"""

from __future__ import annotations

import click

from ctwsgi import __version__
from ctwsgi.commands import LazyGroup

from ..config import DEFAULT_PATH

_COMMANDS = {
    "init": ("demo_app.cli.init:init", "Write a configuration and a secret."),
    "check": ("demo_app.cli.check:check", "Tell what is wrong with a configuration."),
    "run": ("demo_app.cli.run:run", "Serve the portal."),
    "agent": ("demo_app.cli.gateway:agent", "Keep a gateway's packet filter as the store says."),
    "rules": ("demo_app.cli.gateway:rules", "Print a gateway's packet filter, and lines for DHCP."),
    "vouchers": ("demo_app.cli.vouchers:vouchers", "Create, list and revoke vouchers."),
    "sessions": ("demo_app.cli.sessions:sessions", "List and end sessions."),
    "password": ("demo_app.cli.init:password", "Hash a password for [users] or [admin]."),
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
    help="The configuration.",
)
@click.version_option(__version__, "-V", "--version", message="ctwsgi-portal %(version)s")
@click.pass_context
def main(ctx: click.Context, config: str) -> None:
    """A captive portal for redirected clients."""
    ctx.obj = config
