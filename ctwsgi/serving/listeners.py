# SPDX-License-Identifier: MIT
"""One listener's source, keys and TLS, made from its options while the rights are still there.

Everything here runs in gunicorn's master, or in a worker before it drops its privileges: key files
may be readable by root only, and IP_TRANSPARENT needs CAP_NET_ADMIN.
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
    """What a worker needs to serve one listening socket."""

    source: Source
    tls: ssl.SSLContext | None


class KeyRings:
    """Key rings by file. A file that turns bad on a reload leaves its last good ring in use."""

    def __init__(self) -> None:
        self._good: dict[str, KeyRing] = {}

    def load(self, path: str, log: Any) -> KeyRing:
        """ValueError (or OSError) only when this file never gave a ring."""
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
    """ValueError or OSError say, in one line, what is wrong with a key or certificate."""
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
    # Without this OpenSSL would ask on the terminal, in a service for ever.
    raise ValueError("the key is encrypted")


def names_of(
    addresses: Sequence[Name], inherited: int, sockets: Sequence[Any] = ()
) -> list[frozenset[Name]]:
    """What --bind may call each listener.

    `addresses` are gunicorn's cfg.address; `inherited` is how many sockets systemd handed over,
    from descriptor 3 on, which replace every --bind but fd://N; `sockets` are the open listeners,
    in gunicorn's order, when there are any yet: they answer to their real address, too.
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
    if len(spelled) != len(real):  # handed over by another master (USR2): only addresses tell
        return [frozenset([name]) for name in real]
    return [frozenset(pair) for pair in zip(spelled, real, strict=True)]


def bound_name(sockname: Any) -> Name:
    """getsockname() as a Name."""
    if isinstance(sockname, tuple):
        return str(sockname[0]), int(sockname[1])
    return sockname.decode() if isinstance(sockname, bytes) else str(sockname)
