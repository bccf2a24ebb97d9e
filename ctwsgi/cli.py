"""The `ctwsgi` command. Subcommands are imported when they are called, so that --help is fast."""

from __future__ import annotations

from importlib import import_module

import click

from . import __version__

_COMMANDS = {
    "serve": ("ctwsgi.cli:serve", "Serve a WSGI application: gunicorn with our worker."),
    "relay": (
        "ctwsgi.relay.command:relay",
        "Inject the origin from user space.",
    ),
    "decode": ("ctwsgi.decode:decode", "Show the origin in a recorded stream."),
}


class Commands(click.Group):
    """Knows each command's module and one-line help without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="ctwsgi %(version)s")
def main() -> None:
    """Tell a WSGI application where a redirected client was really going."""


class Verbatim(click.Command):
    """Leaves every word after its name, --help too, to somebody else's parser."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return ctx.args


@click.command(cls=Verbatim)
@click.pass_context
def serve(ctx: click.Context) -> None:
    """gunicorn's parser reads what follows."""
    from .serving.patch import patch

    patch()  # before gunicorn, a config file or the application imports ssl or threading
    from .serving.application import main as run

    run(ctx.args)
