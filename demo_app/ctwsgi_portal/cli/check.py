# SPDX-License-Identifier: MIT
"""`ctwsgi-portal check`: finds the mistakes of a configuration before a guest meets them.

It prints a line for each finding. `wrong` stops the portal or makes it unsafe, and the exit status
is 1. `note` is something that an operator should know.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import click

from ..config import Config, ConfigError
from ..state import StoreError, open_store
from ..state.secret import SecretError, read_secret
from ..web.pages import Pages
from .certificate import why_refused
from .opened import load_config
from .run import serve_arguments

SILENT = 60
"""Seconds without a heartbeat of a gateway, after which check says so."""

_CALLABLE = "ctwsgi.middleware:OriginMiddleware"

Finding = tuple[str, str]


@click.command()
@click.pass_obj
def check(path: str) -> None:
    """Check the configuration, the store, the secret, certificates and listeners."""
    config = load_config(path)
    findings = [
        *_secret(config),
        *_store(config),
        *_theme(config),
        *_listeners(config),
        *_certificates(config),
        *_advice(config),
    ]
    for kind, text in findings:
        click.echo(f"{kind}: {text}")
    wrong = sum(kind == "wrong" for kind, _ in findings)
    click.echo(f"{path}: {wrong} wrong, {len(findings) - wrong} to note")
    if wrong:
        raise SystemExit(1)


def _secret(config: Config) -> Iterator[Finding]:
    try:
        read_secret(config.portal.secret_file)
    except SecretError as e:
        yield "wrong", str(e)


def _store(config: Config) -> Iterator[Finding]:
    try:
        store = open_store(config.portal.store)
        gateways, advice = store.gateways(), store.advice()
        store.close()
    except StoreError as e:
        yield "wrong", str(e)
        return
    for text in advice:
        yield "note", text
    if not gateways:
        yield "note", "no gateway has reported yet: start ctwsgi-portal agent on each"
    for name, seen in gateways.items():
        silence = time.time() - seen
        if silence > SILENT:
            yield "note", f"gateway {name} was last heard of {silence:.0f} s ago"


def _theme(config: Config) -> Iterator[Finding]:
    try:
        Pages(config)
    except ConfigError as e:
        yield "wrong", str(e)


def _listeners(config: Config) -> Iterator[Finding]:
    """`ctwsgi serve` itself checks them: trust, keys, certificates."""
    words = serve_arguments(config)
    # Any callable will do. The portal's application would open the store, and report less clearly
    # what the functions above have found.
    command = [
        sys.executable,
        "-m",
        "ctwsgi",
        "serve",
        "--check-config",
        *words,
        _CALLABLE,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        yield "wrong", (done.stderr or done.stdout).strip()


def _certificates(config: Config) -> Iterator[Finding]:
    """For the hosts of the portal's URLs. DHCP announces the API under the same host."""
    hosts = [urlsplit(url).hostname or "" for url in config.portal.urls()]
    for role, listener in config.listen.roles().items():
        for host in hosts if listener.certfile else ():
            why = why_refused(listener.certfile, listener.keyfile or None, host)
            if why:
                yield "wrong", f"[listen.{role}] certificate {listener.certfile}: {why}"


def _advice(config: Config) -> Iterator[Finding]:
    secure = config.portal.url.startswith("https://")
    own = config.listen.portal
    for url in config.portal.urls():
        port = urlsplit(url).port or (443 if secure else 80)
        if port != own.port:
            text = (
                f"{url} and [listen.portal], port {own.port}, differ: does something translate it?"
            )
            yield "note", text
        elif secure and not own.certfile:
            yield "wrong", f"{url} is https, and [listen.portal] has no certfile"
    if config.listen.api and not secure:
        yield "note", "RFC 8908: user-portal-url is left out until [portal] url is https"
    if any("password" in n.access.methods for n in config.networks) and not secure:
        yield "note", "passwords travel in clear until [portal] url is https"
    if config.admin and not secure:
        yield "note", "[admin] password travels in clear, unless you come through a tunnel"
    for network in config.networks:
        if not any(net.version == 6 for net in network.addresses):
            yield "note", f"network {network.name} has no IPv6: its devices cannot use it"
