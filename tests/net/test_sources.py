# SPDX-License-Identifier: MIT
"""Every source behind real redirects: the application reads what the client dialled."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest

from ctwsgi.source import make_source
from tests.lab import Lab, draw_destination, unavailable
from tests.lab.rules import redirect, tproxy
from tests.running import ask, running, tell_origin

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))

ANY = {4: "0.0.0.0", 6: "::"}


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        yield lab


@contextmanager
def serving(lab, host, source):
    """A WSGIServer on the server host of the lab; yields (runner, port)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with lab.server.socket(family) as listener:
        source.prepare(listener)
        listener.bind((host, 0))
        listener.listen()
        with running(tell_origin, listener, source=source) as runner:
            yield runner, runner.server.address[1]


def check(told, source, destination, client):
    assert told["ct.orig_dst"] == (list(destination) if destination else None)
    assert told["ct.orig_src"] == list(client[:2])
    assert told["REMOTE_ADDR"] == client[0]
    assert (told["ct.source"], told["ct.verified"]) == (source, destination is not None)


@pytest.mark.parametrize(("version", "host"), [(4, "0.0.0.0"), (6, "::"), (4, "::")])
def test_conntrack(lab, version, host):
    """The last case is IPv4 on a dual-stack listener: the entry is in IPv4's conntrack."""
    destination = draw_destination(version)
    with (
        serving(lab, host, make_source("conntrack")) as (_, port),
        lab.server.rules(redirect(port)),
        lab.client.connect(destination) as sock,
    ):
        for _ in range(2):
            told = ask(sock)
            check(told, "conntrack", destination, sock.getsockname())
            assert told["SERVER_NAME"] == lab.server.address(version)


@pytest.mark.parametrize("version", [4, 6])
def test_conntrack_without_a_redirect(lab, version):
    with (
        serving(lab, ANY[version], make_source("conntrack")) as (_, port),
        lab.server.rules(redirect(port)),
        lab.client.connect((lab.server.address(version), port)) as sock,
    ):
        check(ask(sock), "conntrack", None, sock.getsockname())


@pytest.mark.parametrize("source", ["conntrack", "tproxy"])
def test_required_redirect(lab, source):
    made = make_source(source, require_redirect=True, own=[(lab.server.address(), None)])
    with (
        serving(lab, "0.0.0.0", made) as (runner, port),
        lab.client.connect((lab.server.address(), port)) as sock,
    ):
        assert sock.recv(1) == b""
        assert runner.server.counters["refused:not-redirected"] == 1


@pytest.mark.parametrize("version", [4, 6])
def test_tproxy(lab, version):
    destination = draw_destination(version)
    with (
        serving(lab, ANY[version], make_source("tproxy")) as (_, port),
        lab.server.marked_delivery(),
        lab.server.rules(tproxy(port)),
        lab.client.connect(destination) as sock,
    ):
        told = ask(sock)
        check(told, "tproxy", destination, sock.getsockname())
        assert told["SERVER_NAME"] == ANY[version]


def test_tproxy_knows_itself(lab):
    """Direct dials, to the bind address and to an address given with --self."""
    here = lab.server.address()
    with (
        serving(lab, here, make_source("tproxy")) as (_, port),
        lab.client.connect((here, port)) as sock,
    ):
        check(ask(sock), "tproxy", None, sock.getsockname())
    for own in ((here, None), (here, "port")):
        with serving(lab, "0.0.0.0", make_source("tproxy")) as (runner, port):
            runner.server.source = make_source("tproxy", own=[(own[0], own[1] and port)])
            with lab.client.connect((here, port)) as sock:
                check(ask(sock), "tproxy", None, sock.getsockname())


def test_conntrack_on_a_host_that_tracks_nothing(lab):
    """Without a nat rule there is no entry. The client gets no error of the kernel's."""
    with (
        serving(lab, "0.0.0.0", make_source("conntrack")) as (runner, port),
        lab.client.connect((lab.server.address(), port)) as sock,
    ):
        try:
            check(ask(sock), "conntrack", None, sock.getsockname())
        except ConnectionError:
            assert runner.server.counters["refused:conntrack-unavailable"] == 1
