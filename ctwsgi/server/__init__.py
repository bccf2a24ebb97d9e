# SPDX-License-Identifier: MIT
"""The server: connections accepted, served under deadlines, and drained when it stops."""

from .outcomes import Access
from .server import WSGIServer
from .shared import WSGIApplication

__all__ = ["Access", "WSGIApplication", "WSGIServer"]
