# SPDX-License-Identifier: MIT
"""From the configuration to what the gateway's side needs."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from ..config import Config, ConfigError
from .agent import Settings
from .ruleset import Rules

API_PATH = "/captive-portal/api"
"""The web side's (web/api.py), which is not imported here: a gateway needs no Flask."""


def settings(config: Config) -> Settings:
    """ConfigError when no network names an interface."""
    gateway = config.gateway
    return Settings(name=gateway.name, rules=rules(config), report_every=gateway.report_every)


def rules(config: Config) -> Rules:
    """ConfigError when no network names an interface."""
    gateway = config.gateway
    inside = tuple(dict.fromkeys(name for n in config.networks for name in n.interfaces))
    if not inside:
        raise ConfigError("networks: none has interfaces: the gateway must know where clients are")
    addresses, ports = _portal(config)
    return Rules(
        inside=inside,
        redirect_to=gateway.redirect_to,
        redirect_port=gateway.redirect_port or config.listen.redirected.port,
        helper=gateway.helper,
        portal=addresses,
        portal_ports=ports,
        garden=gateway.garden,
        resolvers=gateway.resolvers,
        bypass=gateway.bypass,
        rate_up=gateway.rate_up,
        rate_down=gateway.rate_down,
    )


def api_url(config: Config) -> str | None:
    """Where RFC 8908 is spoken, as DHCP and router advertisements say it; None: nowhere."""
    if config.listen.api is None:
        return None
    host = urlsplit(config.portal.url).hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = config.listen.api.port
    return f"https://{shown}{'' if port == 443 else f':{port}'}{API_PATH}"


def _portal(config: Config) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Addresses and ports of the portal's own pages.

    A name in its URL is not looked up, so that no boot waits for a name server: `own` says where.
    """
    urls = [urlsplit(url) for url in config.portal.urls()]
    ports = {url.port or (443 if url.scheme == "https" else 80) for url in urls}
    ports.add(config.listen.portal.port)
    if config.listen.api:
        ports.add(config.listen.api.port)
    addresses = []
    for url in urls:
        try:
            addresses.append(ip_address(url.hostname or "").compressed)
        except ValueError:
            pass  # a name
    for host, port in config.portal.own:
        addresses.append(host)
        if port:
            ports.add(port)
    return tuple(dict.fromkeys(addresses)), tuple(sorted(ports))
