# SPDX-License-Identifier: MIT
"""Who may write the origin of a connection, and whether a listener is safe to open.

Two kinds of injectors (docs/threat-model.md):

- A terminating injector (relay, haproxy) is the TCP peer. Its network must be listed.
- An injector in the path (kernel module, eBPF) leaves the client as the TCP peer, so the peer's
  address proves nothing. The header must be signed, or a packet filter must drop connections that
  were not translated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import (
    IPv4Network,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from typing import Any

from .errors import OriginError, Reason
from .guard import local_guard
from .origin import Address
from .wire.address import normal_host, show
from .wire.header import Header

Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

INLINE = "inline"


class UnsafeListener(ValueError):
    """Anybody could write the origin on this listener. The message says what to add."""


@dataclass(frozen=True)
class Trust:
    """Networks of terminating injectors, or `inline` for an injector in the path."""

    networks: tuple[Network, ...] = LOOPBACK
    inline: bool = False
    guarded: bool = False
    """The operator states that a packet filter drops connections that were not translated."""
    snat: bool = False
    """Source addresses are rewritten on the way, and no signed header says to what: do not compare
    them with the peer's."""
    stated: bool = False
    """True when the operator said whom to trust; the default is safe on loopback only."""

    @classmethod
    def parse(cls, words: Iterable[str], *, guarded: bool = False, snat: bool = False) -> Trust:
        """`words` are CIDRs or `inline`, also separated by commas; ValueError names a wrong one."""
        given = [w.strip() for word in words for w in word.split(",") if w.strip()]
        try:
            networks = tuple(parse_network(w) for w in given if w != INLINE)
        except ValueError as e:
            raise ValueError(f"--trust takes networks or the word {INLINE!r}: {e}") from None
        inline = INLINE in given
        if inline and networks:
            raise ValueError(
                f"--trust {INLINE} and networks exclude each other on one listener: "
                "the TCP peer is either the client or the injector"
            )
        return cls(
            networks=networks if given else LOOPBACK,
            inline=inline,
            guarded=guarded,
            snat=snat,
            stated=bool(given),
        )

    def admit(self, peer: Address | None) -> None:
        """Raises OriginError(UNTRUSTED_PEER) when the peer is no known injector.

        Called before a byte is read. The peer of a unix socket (None) passed the file permissions,
        so it is trusted like loopback.
        """
        if not self.inline and peer is not None and not self._trusts(peer[0]):
            raise OriginError(Reason.UNTRUSTED_PEER, "not among the networks of --trust")

    @cached_property
    def _trusts(self) -> Any:
        # Few hosts are injectors, and they connect often: parse each address once.
        @lru_cache(maxsize=1024)
        def trusts(host: str) -> bool:
            address = ip_address(host)
            return any(address in network for network in self.networks)

        return trusts

    def match_source(self, header: Header, peer: Address | None) -> None:
        """With an injector in the path the header's source must be the TCP peer.

        A header with another source was written for another connection. Where NAT changed the
        source, a verified header names what it became. Without a signature the address must be the
        peer's and the port may differ: conntrack changes the port when the client uses one port
        for two destinations that lead here. The guard protects such a listener
        (docs/threat-model.md#the-guard): whoever could write a header could write any port in it.
        """
        if not self.inline or self.snat or header.src is None:
            return
        if header.auth is None:
            fits = peer is not None and header.src[0] == peer[0]
        else:
            fits = (header.translated or header.src) == peer
        if not fits:
            raise OriginError(Reason.SRC_MISMATCH, "the header's source is not the TCP peer")

    def check(self, source: str, sockname: Any, *, signed: bool, signable: bool) -> None:
        """Raises UnsafeListener unless the origins on this address can be trusted."""
        if self.inline:
            if self.guarded or (signed and signable):
                return
            raise UnsafeListener(_inline_advice(source, sockname, signed, signable))
        everybody = any(network.prefixlen == 0 for network in _collapsed(self.networks))
        stated = self.stated and (not everybody or (signed and signable))
        if not stated and not _is_local(sockname):
            raise UnsafeListener(_open_advice(source, sockname, signable))


def _collapsed(networks: Iterable[Network]) -> list[Network]:
    """The same addresses in as few networks as possible: 0.0.0.0/1 and 128.0.0.0/1 are one."""
    listed = list(networks)
    v4 = collapse_addresses([n for n in listed if isinstance(n, IPv4Network)])
    v6 = collapse_addresses([n for n in listed if isinstance(n, IPv6Network)])
    return [*v4, *v6]


def parse_network(word: str) -> Network:
    """As ip_network(), but v4-mapped addresses become IPv4, as they do for a peer."""
    network = ip_network(word)
    mapped = ip_network("::ffff:0:0/96")
    if isinstance(network, IPv6Network) and network.subnet_of(mapped):  # type: ignore[arg-type]
        return IPv4Network((network.network_address.packed[12:], network.prefixlen - 96))
    return network


def _is_local(sockname: Any) -> bool:
    if not isinstance(sockname, tuple):
        return True
    return bool(ip_address(normal_host(sockname[0])).is_loopback)


def show_listener(sockname: Any) -> str:
    """A listening address for messages."""
    if not isinstance(sockname, tuple):
        return f"unix:{sockname}"
    return show(*sockname[:2])


def _inline_advice(source: str, sockname: Any, signed: bool, signable: bool) -> str:
    if not isinstance(sockname, tuple):
        return (
            f"{show_listener(sockname)}: source {source} with --trust {INLINE} needs a signed "
            "header (source proxy with --auth-key-file): no packet filter guards a unix socket"
        )
    port = sockname[1]
    lacking = "a key (--auth-key-file) or --guarded" if signable else "--guarded"
    why = "" if signable or not signed else " A key does not help: frames cannot be signed."
    return (
        f"{show_listener(sockname)}: source {source} with --trust {INLINE} needs {lacking}, "
        f"or any client that dials this port writes its own origin.{why}\n"
        f"--guarded says that this nft rule stands (in a forward chain where a gateway does "
        f"the NAT):\n{local_guard(port)}"
    )


def _open_advice(source: str, sockname: Any, signable: bool) -> str:
    signed = f"  --trust {INLINE} --auth-key-file FILE  an injector in the path that signs\n"
    return (
        f"{show_listener(sockname)}: source {source} on an address that others can reach, "
        "and nothing says who may write the origin. Add one of:\n"
        "  --trust CIDR                          an injector that connects from there\n"
        f"{signed if signable else ''}"
        f"  --trust {INLINE} --guarded              an injector in the path, and this nft rule\n"
        "                                        (in a forward chain where a gateway does "
        f"the NAT):\n{local_guard(sockname[1])}"
    )
