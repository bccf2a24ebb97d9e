# SPDX-License-Identifier: MIT
"""Shared by the applications: configuration, store, secret, and the client of a request."""

from __future__ import annotations

import hmac
import logging
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from ctwsgi.flask import origin
from ctwsgi.linux import LocalAddresses

from ..config import Config
from ..config.networks import Network
from ..state import Store
from ..state.records import Session
from .destinations import Destinations
from .pages import Pages

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class NetworkClient:
    """The other end of a connection, which has an address in one of the networks."""

    address: str
    network: Network


class Portal:
    """The state of a worker process."""

    def __init__(self, config: Config, store: Store, secret: bytes) -> None:
        self.config = config
        self.store = store
        self.secret = secret
        self.pages = Pages(config)
        self.destinations = Destinations(store, config.retention.destinations)
        # The server's logger: it has handlers, and the level of the configuration.
        self.log = logging.getLogger("gunicorn.error")
        self.secure = config.portal.url.startswith("https:")
        self._places = frozenset(_place(url) for url in config.portal.urls())
        self._ports = {port for _, port in self._places}
        self._ports |= {one.port for one in config.listen.roles().values()}
        self._own = frozenset(config.portal.own)
        self._local = LocalAddresses()

    def client(self) -> NetworkClient | None:
        """The client of this request, by the connection's source and no header. None outside the
        networks.
        """
        if origin.orig_src is None:
            return None
        network = self.config.networks.of(origin.orig_src[0])
        return NetworkClient(origin.orig_src[0], network) if network else None

    def session(self, client: NetworkClient) -> Session | None:
        """The client's session, if it has been accepted."""
        return self.store.covering(client.network.name, client.address)

    def is_self(self, destination: tuple[str, int]) -> bool:
        """Whether `destination` is the portal itself, so that a redirect to the portal would lead
        to this listener again.

        Other ports of this host are no loop: people open http://ROUTER/ to see the portal.
        """
        host, port = destination
        if destination in self._places or destination in self._own:
            return True
        return port in self._ports and ((host, None) in self._own or host in self._local)

    def is_own_name(self, host: str) -> bool:
        """Whether a Host header names the portal's URL."""
        if set(host) & set("/?#@\\"):  # urlsplit() would find more than a host in it
            return False
        try:
            return _place(f"{'https' if self.secure else 'http'}://{host}") in self._places
        except ValueError:
            return False

    def url(self) -> str:
        """The portal's URL for the client of this request."""
        return self.config.portal.url_for(origin.orig_src[0] if origin.orig_src else "")

    def note(self, message: str, client: NetworkClient | str | None) -> None:
        """Logs an event. It has the client's address only if [log] clients allows it."""
        address = client.address if isinstance(client, NetworkClient) else client
        where = f" ({address})" if self.config.log.clients and address else ""
        self.log.info("%s%s", message, where)

    def derived(self, purpose: str) -> bytes:
        """The key for `purpose`. A signature for one purpose is not valid for another."""
        return hmac.new(self.secret, purpose.encode(), "sha256").digest()


def _place(url: str) -> tuple[str, int]:
    """Host and port of a URL. May raise ValueError."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


def now() -> float:
    """Unix seconds."""
    return time.time()
