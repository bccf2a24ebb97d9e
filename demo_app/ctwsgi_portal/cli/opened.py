# SPDX-License-Identifier: MIT
"""The configuration and the store for the commands. A mistake ends the command in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..config import Config, ConfigError, load
from ..state import Store, StoreError, open_store


def load_config(path: str) -> Config:
    """Ends the command with all mistakes, a line each, and status 1."""
    try:
        return load(path)
    except ConfigError as e:
        raise click.ClickException(str(e)) from None


def warn_of_store(config: Config) -> None:
    """Prints the store's advice on standard error. The server reports a store that is away."""
    try:
        store = open_store(config.portal.store)
        try:
            for text in store.advice():
                click.echo(f"WARNING: {text}", err=True)
        finally:
            store.close()
    except StoreError:
        pass


@contextmanager
def opened_store(config: Config) -> Iterator[Store]:
    """The store, closed in the end. A StoreError ends the command with status 1."""
    try:
        store = open_store(config.portal.store)
        try:
            yield store
        finally:
            store.close()
    except (StoreError, ValueError) as e:
        raise click.ClickException(str(e)) from None
