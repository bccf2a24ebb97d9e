# SPDX-License-Identifier: MIT
"""The origin for an existing WSGI application, under whatever server it already runs.

`OriginMiddleware` sets the five `ct.*` keys of the environ contract (docs/environ.md). Under our
own server the keys are already there, and the middleware only checks them against its options.
Under gunicorn and the werkzeug development server it asks the kernel about the connection's socket.
Under a server that puts no socket into environ the origin is `none`. It never raises: an origin
that cannot be learnt is `none`, counted, and logged once per reason. It trusts environ as the
server and the middleware around it made it; a client cannot write the keys that it reads, because
request headers all become `HTTP_*`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from werkzeug.wrappers import Response

from .errors import OriginError, Reason
from .linux import normal_address, original_destination
from .loops import LoopGuard, parse_self
from .origin import Address, Origin
from .trust import parse_network
from .wire.address import host_text, pack_host, show

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_DEFAULT_PORTS = {"http": 80, "https": 443}

_UNIX_PEER = "<local>"
"""REMOTE_ADDR of a unix client under werkzeug's server; the contract wants an empty string."""

_REFUSALS = {
    Reason.NOT_ALLOWED: (
        HTTPStatus.MISDIRECTED_REQUEST,
        "This server does not answer for the address that this connection was going to.\n",
    ),
    Reason.NOT_REDIRECTED: (
        HTTPStatus.MISDIRECTED_REQUEST,
        "This server answers redirected connections only.\n",
    ),
    Reason.LOOP: (
        HTTPStatus.LOOP_DETECTED,
        "The address that this connection was going to is this server itself.\n",
    ),
}
_CANNOT_TELL = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "This server cannot tell where this connection was going.\n",
)


class OriginMiddleware:
    """Wraps a WSGI application and sets the `ct.*` keys of each request's environ.

    allow: the original destinations that the application answers for, as `HOST`, `HOST:PORT`,
        `[V6]:PORT` or CIDR; any other gets 421. None: all. Names are not resolved.
    require_redirect: a connection without an original destination gets 421; one whose destination
        the kernel cannot tell gets 503. None: True with an allow-list, else False. A direct
        connection has no destination that could be on the list.
    refuse_loops: an original destination that is the listener, an address of this host or one of
        `self_addresses` gets 508. Those are public addresses that NAT translates to this host, as
        `ADDR` or `ADDR:PORT`.
    rewrite_server: SERVER_NAME and SERVER_PORT become the original destination, and so does a
        missing or empty Host.
    trust_gunicorn_proxy: take the origin only from the PROXY header that gunicorn read (its PROXY_*
        keys). It is only as trustworthy as gunicorn's --proxy-allow-from.

    ValueError for a word that is not an address, and for self_addresses without refuse_loops.
    """

    counters: Counter[str]
    """`refused:<reason>`: requests that this middleware answered itself. `unknown:<reason>`:
    requests that it passed on with the origin `none`. Per process and without a lock, so threads
    may lose a count."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        allow: Iterable[str] | None = None,
        require_redirect: bool | None = None,
        refuse_loops: bool = False,
        self_addresses: Iterable[str] = (),
        rewrite_server: bool = False,
        trust_gunicorn_proxy: bool = False,
    ) -> None:
        own = [parse_self(word) for word in self_addresses]
        if own and not refuse_loops:
            raise ValueError("self_addresses without refuse_loops would refuse nothing")
        self.app = app
        self.counters = Counter()
        self._allowed = None if allow is None else _Destinations(allow)
        self._required = allow is not None if require_redirect is None else require_redirect
        self._loops = LoopGuard(own) if refuse_loops else None
        self._rewrites = rewrite_server
        self._checks = self._required or self._allowed is not None or refuse_loops
        self._trusts_gunicorn = trust_gunicorn_proxy
        # The origin belongs to the connection. Keeping it saves three system calls per keep-alive
        # request. It is also needed under gunicorn's gthread worker, which drops the PROXY header
        # after the first request.
        self._known: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()
        self._log = logging.getLogger("ctwsgi")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            origin = environ.get("ct.origin")
            if origin is None:
                origin = self._learn(environ)
                environ.update(origin.environ())
            if self._checks:
                self._check(environ, origin)
        except OriginError as e:
            self._note("refused", e)
            status, text = _REFUSALS.get(e.reason, _CANNOT_TELL)
            line = f"{status.value} {status.phrase}"
            return Response(text, line, mimetype="text/plain")(environ, start_response)
        if self._rewrites and origin.orig_dst is not None:
            _rewrite_server(environ, origin.orig_dst)
        return self.app(environ, start_response)

    def _learn(self, environ: WSGIEnvironment) -> Origin:
        """The origin from the server's keys in environ. OriginError only if one is required."""
        sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        try:
            if sock is None:
                origin = Origin("none", orig_src=_remote(environ))
            elif self._trusts_gunicorn:
                origin = self._from_gunicorn(environ, sock)
            else:
                origin = self._from_kernel(sock)
        except OriginError as e:
            if self._required:
                raise
            self._note("unknown", e)
            origin = Origin("none", orig_src=_peer(sock))
        _respell_remote(environ)
        return origin

    def _from_kernel(self, sock: Any) -> Origin:
        origin = self._known.get(sock)
        if origin is None:
            try:
                destination = original_destination(sock)
            except OSError as e:  # closed by the server, or reset by the client
                raise OriginError(Reason.CONNTRACK_ERROR, str(e)) from e
            # Without a destination there is nothing that could be verified.
            verified = destination is not None
            origin = self._known[sock] = Origin("conntrack", destination, _peer(sock), verified)
        return origin

    def _from_gunicorn(self, environ: WSGIEnvironment, sock: Any) -> Origin:
        """gunicorn sets PROXY_ADDR and PROXY_PORT to the header's destination and REMOTE_* to its
        source (gunicorn/http/wsgi.py).

        For LOCAL and UNSPEC it sets all of them to None, REMOTE_ADDR included.
        """
        origin = self._known.get(sock)
        if origin is None:
            if "PROXY_PROTOCOL" not in environ:
                raise OriginError(Reason.NOT_REDIRECTED, "gunicorn saw no PROXY header")
            destination = _address(environ.get("PROXY_ADDR"), environ.get("PROXY_PORT"))
            source = _remote(environ) if destination else _peer(sock)
            origin = self._known[sock] = Origin("proxy", destination, source)
        if environ.get("PROXY_ADDR") is None:
            _write_remote(environ, origin.orig_src)
        return origin

    def _check(self, environ: WSGIEnvironment, origin: Origin) -> None:
        """Raises OriginError for a request that the application must not see."""
        destination = origin.orig_dst
        if destination is None:
            if self._required:
                raise OriginError(Reason.NOT_REDIRECTED, f"source {origin.source}")
            return
        if self._allowed is not None and destination not in self._allowed:
            raise OriginError(Reason.NOT_ALLOWED, show(*destination))
        if self._loops is not None and (
            self._loops.refuses(destination) or destination in _listeners(environ)
        ):
            raise OriginError(Reason.LOOP, show(*destination))

    def _note(self, outcome: str, error: OriginError) -> None:
        """Counts every case and logs the first of each, so that a client cannot fill the log."""
        name = f"{outcome}:{error.reason}"
        self.counters[name] += 1
        if self.counters[name] == 1:
            self._log.warning("origin %s: %s (only the first is logged)", outcome, error)


class _Destinations:
    """A set of addresses, addresses with port, and networks."""

    def __init__(self, words: Iterable[str]) -> None:
        words = [words] if isinstance(words, str) else list(words)
        self._networks = [parse_network(word) for word in words if "/" in word]
        self._exact = frozenset(parse_self(word) for word in words if "/" not in word)

    def __contains__(self, destination: Address) -> bool:
        host, port = destination
        if (host, None) in self._exact or (host, port) in self._exact:
            return True
        return bool(self._networks) and any(ip_address(host) in net for net in self._networks)


def _address(host: Any, port: Any) -> Address | None:
    """Two values of environ as an address; None when they are not one.

    The server's values are always addresses, but a middleware between the server and this one may
    have replaced them by text from a client.
    """
    try:
        return host_text(pack_host(str(host).partition("%")[0])), int(port)
    except (TypeError, ValueError):
        return None


def _remote(environ: WSGIEnvironment) -> Address | None:
    return _address(environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT"))


def _peer(sock: Any) -> Address | None:
    try:
        return normal_address(sock.getpeername())
    except OSError:  # reset meanwhile: the address is lost
        return None


def _listeners(environ: WSGIEnvironment) -> list[Address | None]:
    """Where this request arrived, according to SERVER_NAME and according to the socket.

    SERVER_NAME may be a wildcard, and not every server puts the socket into environ.
    """
    known = [_address(environ.get("SERVER_NAME"), environ.get("SERVER_PORT"))]
    sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if sock is not None:
        try:
            known.append(normal_address(sock.getsockname()))
        except OSError:
            pass
    return known


def _write_remote(environ: WSGIEnvironment, source: Address | None) -> None:
    if source is None:
        environ["REMOTE_ADDR"] = environ["REMOTE_PORT"] = ""
    else:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = source[0], str(source[1])


def _respell_remote(environ: WSGIEnvironment) -> None:
    """Spells REMOTE_* as the contract does: without a zone, a v4-mapped address as IPv4."""
    remote = _remote(environ)
    if remote is not None or environ.get("REMOTE_ADDR") == _UNIX_PEER:
        _write_remote(environ, remote)


def _rewrite_server(environ: WSGIEnvironment, destination: Address) -> None:
    host, port = destination
    environ["SERVER_NAME"], environ["SERVER_PORT"] = host, str(port)
    if not environ.get("HTTP_HOST"):
        name = f"[{host}]" if ":" in host else host
        default = _DEFAULT_PORTS.get(environ["wsgi.url_scheme"])
        environ["HTTP_HOST"] = name if port == default else f"{name}:{port}"
