# SPDX-License-Identifier: MIT
"""One listener's source, keys and TLS, made from its options before privileges are dropped.

All of this runs in gunicorn's master, or in a worker before it drops its privileges: key files may
be readable by root only, and IP_TRANSPARENT needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..source import Source, make_source
from ..wire.auth import KeyRing
from .options import ListenerOptions, Name, show_name


@dataclass(frozen=True)
class Listener:
    """What a worker needs for one listening socket."""

    source: Source
    tls: ssl.SSLContext | None


class KeyRings:
    """Key rings by file. If a file is bad on a reload, its last good ring stays in use."""

    def __init__(self) -> None:
        self._good: dict[str, KeyRing] = {}

    def load(self, path: str, log: Any) -> KeyRing:
        """Raises ValueError or OSError only when this file was never good."""
        try:
            ring = KeyRing.load(path)
        except (OSError, ValueError) as e:
            if path not in self._good:
                raise
            log.error("%s; the keys read before stay in use", e)
        else:
            self._good[path] = ring
        return self._good[path]


def make_listener(options: ListenerOptions, keys: KeyRings, log: Any) -> Listener:
    """Raises ValueError or OSError, in one line, for a bad key file or certificate."""
    ring = keys.load(options.auth_key_file, log) if options.auth_key_file else None
    source = make_source(
        options.source,
        trust=options.trust,
        keys=ring,
        auth_window=options.auth_window,
        own=options.own,
        require_redirect=options.require_redirect,
    )
    return Listener(source, _tls_context(options.certfile, options.keyfile))


def _tls_context(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if certfile is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        names = " and ".join(filter(None, (certfile, keyfile)))
        raise ValueError(f"cannot use the TLS certificate in {names}: {e}") from None
    return context


def _no_password() -> str:
    # Without this OpenSSL asks on the terminal, and a service waits for ever.
    raise ValueError("the key is encrypted")


def names_of(
    addresses: Sequence[Name], inherited: int, sockets: Sequence[Any] = ()
) -> list[frozenset[Name]]:
    """The names by which options may refer to each listener.

    `addresses` are gunicorn's cfg.address. `inherited` is the number of sockets that systemd handed
    over, from descriptor 3 on; they replace every --bind but fd://N. `sockets` are the listeners in
    gunicorn's order, once they are open; their real address is a name, too.
    """
    descriptors: list[Name] = [a for a in addresses if isinstance(a, int)]
    if descriptors and len(descriptors) < len(addresses):
        given = ", ".join(show_name(a) for a in addresses)
        raise ValueError(
            f"--bind {given}: fd:// does not mix with addresses, gunicorn opens only the former"
        )
    spelled = [*descriptors, *range(3, 3 + inherited)] if inherited else list(addresses)
    if not sockets:
        return [frozenset([name]) for name in spelled]
    real = [bound_name(s.getsockname()) for s in sockets]
    if len(spelled) != len(real):
        # The sockets come from another master (USR2): only their addresses are known.
        return [frozenset([name]) for name in real]
    return [frozenset(pair) for pair in zip(spelled, real, strict=True)]


def bound_name(sockname: Any) -> Name:
    """getsockname() as a Name."""
    if isinstance(sockname, tuple):
        return str(sockname[0]), int(sockname[1])
    return sockname.decode() if isinstance(sockname, bytes) else str(sockname)
