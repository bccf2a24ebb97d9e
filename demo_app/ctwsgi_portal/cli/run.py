# SPDX-License-Identifier: MIT
"""`ctwsgi-portal run`: `ctwsgi serve` with the listeners of the configuration.

One gunicorn master and its workers serve all roles. Each listener has its own source, its own
limit of connections, and its own application (web/application.py). docs/serve.md describes the
signals; HUP also reads the configuration again (web/server.py).
"""

from __future__ import annotations

import click

from ctwsgi.wire.address import show

from ..config import Config
from ..config.listeners import Listener
from ..state.secret import SecretError, read_secret
from .opened import load_config, warn_of_store


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SERVE-OPTIONS]")
@click.pass_obj
def run(path: str, options: tuple[str, ...]) -> None:
    """Serve the portal until stopped. Options after -- go to ctwsgi serve."""
    config = load_config(path)
    try:
        read_secret(config.portal.secret_file)
    except SecretError as e:
        raise click.ClickException(str(e)) from None
    from ctwsgi.serving.patch import patch

    patch()  # before gunicorn or the application imports ssl or threading
    warn_of_store(config)
    from ..web.server import PortalServer

    PortalServer(path, config, lambda c: [*serve_arguments(c), *options, "ctwsgi-portal"]).run()


def serve_arguments(config: Config) -> list[str]:
    """The words after `ctwsgi serve`, without the application."""
    words = ["--workers", str(config.portal.workers), "--name", "ctwsgi-portal"]
    words += ["--log-level", config.log.level]
    for listener in config.listen.roles().values():
        words += _listener_arguments(listener)
    if config.listen.guarded:
        words.append("--guarded")
    if config.listen.snat:
        words.append("--snat")
    if config.log.access:
        words += ["--access-logfile", "-"]
    return words


def _listener_arguments(listener: Listener) -> list[str]:
    words: list[str] = []
    for address in listener.bind:
        bind = show(*address)
        words += ["--bind", bind, "--source", f"{bind}={listener.source}"]
        for trust in listener.trust:
            words += ["--trust", f"{bind}={trust}"]
        for flag, value in (
            ("--auth-key-file", listener.auth_key_file),
            ("--certfile", listener.certfile),
            ("--keyfile", listener.keyfile),
        ):
            if value:
                words += [flag, f"{bind}={value}"]
    return words
