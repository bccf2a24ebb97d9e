# SPDX-License-Identifier: MIT
"""`ctwsgi-portal sessions`."""

from __future__ import annotations

import time

import click

from ..state.records import Session
from .opened import load_config, opened_store


@click.group()
def sessions() -> None:
    """List and end sessions."""


@sessions.command("list")
@click.option(
    "--ended",
    type=click.IntRange(1, 100000),
    metavar="N",
    help="Show the last N sessions that ended instead.",
)
@click.pass_obj
def list_(path: str, ended: int | None) -> None:
    """Show sessions: id, network, addresses, MAC, method, end, bytes."""
    with opened_store(load_config(path)) as store:
        if ended:
            for one in store.ended(ended):
                click.echo(f"{_line(one.session)}  ended {_clock(one.ended_at)} by {one.reason}")
            return
        for session in store.snapshot().sessions:
            click.echo(_line(session))


@sessions.command()
@click.argument("which", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="End every session.")
@click.pass_obj
def kick(path: str, which: tuple[str, ...], everybody: bool) -> None:
    """End the sessions of WHICH: addresses, MACs, or the beginning of ids (8 digits or more)."""
    if bool(which) == everybody:
        raise click.UsageError("name sessions, or say --all")
    unknown = []
    with opened_store(load_config(path)) as store:
        standing = store.snapshot().sessions
        for word in which or ("",):
            found = [s for s in standing if everybody or _is(s, word)]
            count = sum(store.end(s.grant.id, "kicked") for s in found)
            if word and not count:
                unknown.append(word)
            else:
                click.echo(f"{count} ended")
    if unknown:
        raise click.ClickException(f"no session of {', '.join(unknown)}")


def _is(session: Session, word: str) -> bool:
    if len(word) >= 8 and session.grant.id.startswith(word):
        return True
    return word.lower() == session.grant.mac or word in session.usage.addresses


def _line(session: Session) -> str:
    grant = session.grant
    limit = "" if grant.limit_bytes is None else f"/{grant.limit_bytes}"
    return "  ".join(
        (
            grant.id[:12],
            grant.network,
            ",".join(session.usage.addresses),
            grant.mac or "-",
            f"{grant.method} {grant.who}".strip(),
            f"until {_clock(grant.expires_at)}",
            f"{session.usage.bytes}{limit} B",
        )
    )


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
