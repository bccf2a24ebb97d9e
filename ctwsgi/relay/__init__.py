# SPDX-License-Identifier: MIT
"""The userspace injector: accepts redirected connections and writes their origin upstream.

    client --- redirect ---> Relay --- origin + the client's bytes ---> upstream
           <----------------------- the upstream's bytes, untouched ---

It is the fallback where nothing can be loaded into the kernel. It has one process, one thread, and
at most two greenlets per connection. Memory per connection does not grow with the data relayed.
"""

from .endpoint import Endpoint, listen, parse_listen, parse_upstream
from .injection import Ctframe, Injection, Proxy
from .server import Bounds, Relay

__all__ = [
    "Bounds",
    "Ctframe",
    "Endpoint",
    "Injection",
    "Proxy",
    "Relay",
    "listen",
    "parse_listen",
    "parse_upstream",
]
