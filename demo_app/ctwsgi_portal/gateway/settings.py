# SPDX-License-Identifier: MIT
"""Makes the agent's settings and the rules from the configuration."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from ..config import Config, ConfigError
from ..config.listeners import API_PATH
from .agent import AgentSettings
from .ruleset import Rules


def agent_settings(config: Config) -> AgentSettings:
    """ConfigError when no network names an interface."""
    gateway = config.gateway
    return AgentSettings(gateway.name, make_rules(config), gateway.report_every)


def make_rules(config: Config) -> Rules:
    """ConfigError when no network names an interface."""
    gateway = config.gateway
    interfaces = tuple(dict.fromkeys(name for n in config.networks for name in n.interfaces))
    if not interfaces:
        raise ConfigError("networks: none has interfaces: the gateway must know where clients are")
    addresses, ports = _portal(config)
    return Rules(
        lan_interfaces=interfaces,
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
    """The URL of the API of RFC 8908, for DHCP and router advertisements; None: there is none."""
    if config.listen.api is None:
        return None
    host = urlsplit(config.portal.url).hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = config.listen.api.port
    return f"https://{shown}{'' if port == 443 else f':{port}'}{API_PATH}"


def _portal(config: Config) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Addresses and ports of the portal's own pages.

    A name in a URL is not looked up, because a boot must not wait for a name server. `own` has its
    addresses.
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
            pass  # the host is a name
    for host, port in config.portal.own:
        addresses.append(host)
        if port:
            ports.add(port)
    return tuple(dict.fromkeys(addresses)), tuple(sorted(ports))
