# SPDX-License-Identifier: MIT
"""The port of this machine at which `make portal` offers its proxy to browsers."""

from __future__ import annotations

import errno
import os
import socket

import psutil

from .requirements import LabError

DEFAULT = 8900
VARIABLE = "PROXY_PORT"
"""The environment variable that names another one."""


def listener() -> socket.socket:
    """A listening socket at the port. LabError names the program that has it, and what to type."""
    port = _chosen()
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as e:
        if e.errno != errno.EADDRINUSE:
            raise LabError(f"port {port}: {e.strerror}: {_another(port)}") from None
        raise LabError(f"port {port} is in use{_by(port)}: {_another(port)}") from None


def _chosen() -> int:
    word = os.environ.get(VARIABLE) or str(DEFAULT)
    if not word.isdecimal() or not 0 < int(word) < 65536:
        raise LabError(f"{VARIABLE}={word!r} is not a port: {_another(DEFAULT - 1)}")
    return int(word)


def _another(port: int) -> str:
    return f"type {VARIABLE}={max(1024, (port + 1) % 65536)} make portal"


def _by(port: int) -> str:
    """The listening program, as far as this user may know it."""
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
                return f" by {psutil.Process(found.pid).name()} (pid {found.pid})"
    except psutil.Error:
        pass  # it has ended, or this user may not ask
    return ""
