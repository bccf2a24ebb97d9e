# SPDX-License-Identifier: MIT
"""`ctwsgi-portal init` and `password`, for the time before the first start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from ..config import ConfigError, parse
from ..config.addresses import read_network

_TEMPLATE = Path(__file__).parent.parent / "config" / "portal.toml"
_LICENCE = "# SPDX-License-Identifier: "
"""The template's first line begins so. The operator's file is not under the project's licence."""


@click.command()
@click.option("--name", default="Example Hotel", show_default=True, help="Shown on every page.")
@click.option(
    "--url", default="http://192.0.2.1:8081", show_default=True, help="The portal's own URL."
)
@click.option(
    "--network", multiple=True, metavar="CIDR", help="A network of clients; may be repeated."
)
@click.option(
    "--interface",
    multiple=True,
    metavar="NAME",
    help="The gateway's interface towards the clients; may be repeated.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False),
    help="For the store; default: that of the configuration.",
)
@click.pass_obj
def init(
    path: str, name: str, url: str, network: tuple[str, ...], interface: tuple[str, ...],
    directory: str | None,
) -> None:  # fmt: skip
    """Write a configuration with comments, and a secret beside it. Nothing is overwritten."""
    target = Path(path).absolute()
    folder = target.parent
    text = _template()
    changes = {
        '"Example Hotel"': _quoted(name),
        '"http://192.0.2.1:8081"': _quoted(url),
        '"/etc/ctwsgi-portal/secret"': _quoted(str(folder / "secret")),
        '"sqlite:/var/lib/ctwsgi-portal/portal.db"': _quoted(
            f"sqlite:{Path(directory).absolute() if directory else folder}/portal.db"
        ),
    }
    if network:
        changes['["192.0.2.0/24", "2001:db8:1::/64"]'] = _list([_network(n) for n in network])
    if interface:
        changes['interfaces = ["eth1"]'] = f"interfaces = {_list(interface)}"
    for old, new in changes.items():
        text = text.replace(old, new, 1)
    try:
        parse(text, str(target))
    except ConfigError as e:
        raise click.ClickException(str(e)) from None
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        _write(target, text, 0o640)
        wrote_secret = _write_secret(folder / "secret")
    except OSError as e:
        raise click.ClickException(f"{e.filename}: {e.strerror}") from None
    click.echo(f"wrote {target}" + (f" and {folder / 'secret'}" if wrote_secret else ""))
    click.echo(f"next: edit it, then ctwsgi-portal -c {target} check")


@click.command()
@click.password_option(prompt="Password")
def password(password: str) -> None:
    """Hash a password for [users] or [admin]; it is asked for, or read from standard input."""
    from werkzeug.security import generate_password_hash

    click.echo(generate_password_hash(password))


def _template() -> str:
    text = _TEMPLATE.read_text("utf-8")
    first, _, rest = text.partition("\n")
    return rest if first.startswith(_LICENCE) else text


def _write(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _write_secret(path: Path) -> bool:
    """False when there is one. It is kept, because vouchers and open forms depend on it."""
    if path.exists():
        return False
    _write(path, secrets.token_hex(32) + "\n", 0o600)
    return True


def _network(word: str) -> str:
    try:
        return str(read_network(word))
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="--network") from None


def _quoted(text: str) -> str:
    """A TOML basic string."""
    if any(ord(c) < 32 for c in text):
        raise click.BadParameter(f"{text!r} holds a control character")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _list(words: tuple[str, ...] | list[str]) -> str:
    return "[" + ", ".join(_quoted(w) for w in words) + "]"
