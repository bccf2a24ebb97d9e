# SPDX-License-Identifier: MIT
"""Runs one in-process server on 127.0.0.1, for the harness: `python -m bench.host KIND PORT ...`.

KIND is `pywsgi` (gevent's server, with TCP_NODELAY) or `ours` (`ctwsgi.WSGIServer`). SIGTERM ends
it. With --profile FILE it then writes a profile of its CPU time.
"""

from __future__ import annotations

import argparse
import signal
import socket
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer as PyWSGIServer

from .app import application
from .sampler import Sampler

BACKLOG = 2048


def nodelay_listener(port: int) -> socket.socket:
    """Sets TCP_NODELAY, which pywsgi does not: keep-alive would wait 40 ms for delayed ACKs."""
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    # Accepted sockets inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener


def pywsgi(options: argparse.Namespace) -> Any:
    return PyWSGIServer(nodelay_listener(options.port), application, log=None)


def ours(options: argparse.Namespace) -> Any:
    # Imported here, so that the process that measures pywsgi does not load ctwsgi.
    from ctwsgi import WSGIServer
    from ctwsgi.source import make_source
    from ctwsgi.wire.auth import KeyRing

    keys = KeyRing.load(options.auth_key_file) if options.auth_key_file else None
    source = make_source(options.source, keys=keys)
    return WSGIServer(("127.0.0.1", options.port), application, source=source, backlog=BACKLOG)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.host", description=__doc__)
    parser.add_argument("kind", choices=["pywsgi", "ours"])
    parser.add_argument("port", type=int)
    parser.add_argument("--source", default="none")
    parser.add_argument("--auth-key-file")
    parser.add_argument("--profile", metavar="FILE")
    return parser.parse_args()


def main() -> None:
    options = parse()
    server = {"pywsgi": pywsgi, "ours": ours}[options.kind](options)
    sampler = Sampler() if options.profile else None
    gevent.signal_handler(signal.SIGTERM, server.stop)
    if sampler:
        sampler.start()
    server.serve_forever()
    if sampler:
        sampler.write(options.profile)


if __name__ == "__main__":
    main()
