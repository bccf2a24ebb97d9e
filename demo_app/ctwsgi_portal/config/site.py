# SPDX-License-Identifier: MIT
"""The tables [portal], [terms], [users], [admin], [retention] and [log]."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from ctwsgi.loops import parse_self

from ..state.open import check_url
from .addresses import IPNetwork, read_network
from .table import Table

LANGUAGES = ("en", "zh")

_HASH = re.compile(r"(scrypt|pbkdf2):[^$]+\$[^$]+\$[0-9a-f]+")
"""The form of werkzeug.security.generate_password_hash()."""


@dataclass(frozen=True)
class Site:
    """The table [portal]: its URLs, texts, store and processes."""

    name: str
    url: str
    """Browsers are redirected to it: `http(s)://HOST[:PORT]`, without a slash at the end."""
    url6: str
    """The same for clients that come over IPv6; '' when `url` is for all."""
    own: tuple[tuple[str, int | None], ...]
    """Further addresses of the portal's pages. Without a port, all of the portal's ports."""
    store: str
    secret_file: str
    venue_info_url: str
    language: str
    theme: str
    """A folder with templates and style.css that replace the built-in ones; '' for none."""
    continue_after: int
    """Seconds until the page after acceptance goes on by itself; 0: only by its link."""
    workers: int

    def urls(self) -> tuple[str, ...]:
        """`url`, and `url6` if there is one."""
        return tuple(filter(None, (self.url, self.url6)))

    def url_for(self, address: str) -> str:
        """The URL for the client with this address. Over another IP version it would be another
        client to the portal.
        """
        return self.url6 if self.url6 and ":" in address else self.url


@dataclass(frozen=True)
class Admin:
    """The table [admin]: the operator's page. Without the table there is none."""

    user: str
    password_hash: str = field(repr=False)
    allow: tuple[IPNetwork, ...]
    kick: bool
    """Whether the page can end sessions; otherwise it is read-only."""
    session: int
    """Seconds until a login has to be repeated."""


@dataclass(frozen=True)
class Retention:
    """The table [retention]: seconds after which data are deleted (web/upkeep.py)."""

    sessions: int
    """Ended sessions, with address, MAC and name."""
    destinations: int
    """Counts of destinations by day, without the clients; 0: they are not counted."""


@dataclass(frozen=True)
class Log:
    """The table [log]: what the log names."""

    level: str
    access: bool
    """A line for each request, with the client's address and destination."""
    clients: bool
    """Whether other lines may name a client's address."""


def read_site(table: Table) -> Site:
    """Reads the table [portal]."""
    site = Site(
        name=table.text("name"),
        url=table.parsed("url", _url) or "",
        url6=table.parsed("url6", _url, "") or "",
        own=table.all_parsed("own", parse_self),
        store=table.parsed("store", check_url) or "",
        secret_file=table.text("secret_file"),
        venue_info_url=table.parsed("venue_info_url", _page, "") or "",
        language=table.choice("language", "en", LANGUAGES),
        theme=table.text("theme", ""),
        continue_after=table.integer("continue_after", 0, 0, 60),
        workers=table.integer("workers", 2, 1, 64),
    )
    if site.url6 and site.url6.partition(":")[0] != site.url.partition(":")[0]:
        table.wrong("url6", "must begin like url, with http:// or https://")
    table.done()
    return site


def read_terms(table: Table) -> dict[str, str]:
    """The terms on the splash page by language. Empty lines separate paragraphs."""
    terms = {name: table.text(name, "") for name in LANGUAGES}
    table.done()
    return {name: text for name, text in terms.items() if text}


def read_users(table: Table) -> dict[str, str]:
    """Password hashes by user name."""
    users = {name: table.text(name) for name in table.names()}
    for name, text in users.items():
        if not _HASH.fullmatch(text):
            table.wrong(name, "is not a password hash: make one with ctwsgi-portal password")
    table.done()
    return users


def read_admin(table: Table) -> Admin | None:
    """Reads the table [admin]."""
    admin = Admin(
        user=table.text("user", "admin"),
        password_hash=table.text("password_hash"),
        allow=table.all_parsed("allow", read_network, ("127.0.0.0/8", "::1/128")),
        kick=table.flag("kick", False),
        session=table.duration("session", "8h"),
    )
    if admin.password_hash and not _HASH.fullmatch(admin.password_hash):
        table.wrong("password_hash", "is none: make one with ctwsgi-portal password")
    table.done()
    return admin


def read_retention(table: Table) -> Retention:
    """Reads the table [retention]."""
    retention = Retention(
        sessions=table.duration("sessions", "7d"),
        destinations=table.duration("destinations", "30d"),
    )
    table.done()
    return retention


def read_log(table: Table) -> Log:
    """Reads the table [log]."""
    log = Log(
        level=table.choice("level", "info", ("debug", "info", "warning", "error")),
        access=table.flag("access", False),
        clients=table.flag("clients", False),
    )
    table.done()
    return log


def _url(word: str) -> str:
    """The portal's own URL. It may not have a path, because the portal defines the paths."""
    parts = urlsplit(_page(word))
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{word!r}: write http://HOST or https://HOST, with a port or without")
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{ip_address(host).compressed}]"  # the spelling of browsers in Host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def _page(word: str) -> str:
    parts = urlsplit(word)
    if parts.scheme not in ("http", "https") or not parts.hostname or not word.isascii():
        raise ValueError(f"{word!r} is not a URL that begins with http:// or https://")
    _ = parts.port  # raises ValueError for a wrong port
    return word
