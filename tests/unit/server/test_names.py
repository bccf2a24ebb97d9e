# SPDX-License-Identifier: MIT
"""The names that other programs import."""

from __future__ import annotations

import logging

import pytest

import ctwsgi
import ctwsgi.server
from ctwsgi import WSGIServer
from ctwsgi.server import Access
from tests.running import tell_origin


def test_the_server_has_one_class_under_both_names():
    assert ctwsgi.WSGIServer is ctwsgi.server.WSGIServer
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = ctwsgi.Server


def test_what_the_server_was_given_can_be_read_again():
    log = logging.getLogger("test")
    server = WSGIServer(("127.0.0.1", 0), tell_origin, log=log)
    assert (server.application, server.access, server.log) == (tell_origin, None, log)
    assert (server.source.name, server.timeouts.origin, server.limits.header_count) == (
        "none",
        10.0,
        100,
    )
    assert (server.served, server.draining, server.bound) == (0, False, None)


def test_application_and_access_can_be_replaced():
    server = WSGIServer(("127.0.0.1", 0), tell_origin)
    seen: list[Access] = []
    server.access = seen.append
    server.application = print
    assert (server.access, server.application) == (seen.append, print)
