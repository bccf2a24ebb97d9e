# SPDX-License-Identifier: MIT
"""The `ctwsgi` command and its subcommand `serve`."""

from __future__ import annotations

import click

from ..version import __version__
from .lazy_group import LazyGroup

_COMMANDS = {
    "serve": ("ctwsgi.cli:serve", "Serve a WSGI application: gunicorn with our worker."),
    "relay": (
        "ctwsgi.relay.command:relay",
        "Inject the origin from user space.",
    ),
    "gateway": (
        "ctwsgi.ebpf.command:gateway",
        "Inject the origin on a gateway, by eBPF.",
    ),
    "check": ("ctwsgi.check.command:check", "Tell whether this host can inject origins."),
    "decode": ("ctwsgi.cli.decode:decode", "Show the origin in a recorded stream."),
}


@click.group(
    cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, "-V", "--version", message="ctwsgi %(version)s")
def main() -> None:
    """Tell a WSGI application where a redirected client was really going."""


class Verbatim(click.Command):
    """Passes every word after its name, also --help, to another parser."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return ctx.args


@click.command(cls=Verbatim)
@click.pass_context
def serve(ctx: click.Context) -> None:
    """gunicorn's parser reads what follows."""
    from ..serving.patch import patch

    patch()  # before gunicorn, a config file or the application imports ssl or threading
    from ..serving.application import main as run

    run(ctx.args)
