# SPDX-License-Identifier: MIT
"""Reads the whole configuration from its file, or raises ConfigError with every mistake in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .gateway import Gateway, read_gateway
from .lines import key_lines
from .listeners import Listeners, read_listeners
from .networks import Access, Networks, read_access, read_networks
from .site import (
    Admin,
    Log,
    Retention,
    Site,
    read_admin,
    read_log,
    read_retention,
    read_site,
    read_terms,
    read_users,
)
from .table import ConfigError, Mistakes, Table
from .toml import tomllib

DEFAULT_PATH = "/etc/ctwsgi-portal/portal.toml"


@dataclass(frozen=True)
class Config:
    """Each field is a section of the file; portal.toml explains them."""

    portal: Site
    terms: dict[str, str]
    listen: Listeners
    access: Access
    networks: Networks
    gateway: Gateway
    users: dict[str, str]
    admin: Admin | None
    retention: Retention
    log: Log


def load(path: str | Path) -> Config:
    """The configuration in a file. ConfigError has a line `FILE:LINE: KEY: ...` a mistake."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: {_reason(e)}; ctwsgi-portal init writes one") from None
    return parse(text, str(path))


def parse(text: str, name: str = "portal.toml") -> Config:
    """The configuration in `text`; messages call the file `name`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(_syntax_error(str(e), text, name)) from None
    mistakes = Mistakes(name, key_lines(text))
    table = Table(values, (), mistakes)
    config = _read(table)
    table.done()
    mistakes.raise_if_any()
    return config


def _read(table: Table) -> Config:
    access_table = table.table("access")
    access = read_access(access_table)
    access_table.done()
    networks = table.tables("networks")
    if not networks:
        table.wrong("networks", "there is none: write [[networks]] with name and addresses")
    config = Config(
        portal=read_site(table.table("portal")),
        terms=read_terms(table.table("terms")),
        listen=read_listeners(table.table("listen")),
        access=access,
        networks=read_networks(networks, access),
        gateway=read_gateway(table.table("gateway")),
        users=read_users(table.table("users")),
        admin=read_admin(table.table("admin")) if "admin" in table else None,
        retention=read_retention(table.table("retention")),
        log=read_log(table.table("log")),
    )
    if not config.users and any("password" in n.access.methods for n in config.networks):
        table.wrong("users", 'there is none, and the method "password" needs one')
    return config


def _syntax_error(message: str, text: str, name: str) -> str:
    """tomllib's message, with its line in front. `end of document` stands for the last line."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message)
    if match is None:
        return f"{name}: {message}"
    line = match[2] or len(text.rstrip().splitlines()) or 1
    return f"{name}:{line}: {match[1]}"


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "is not UTF-8"
