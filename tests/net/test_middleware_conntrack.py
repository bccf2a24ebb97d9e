# SPDX-License-Identifier: MIT
"""OriginMiddleware behind real NAT: under each server, and with one redirected socket.

    client namespace  192.0.2.2 ---- veth ---- 192.0.2.1  server namespace
                      2001:db8:ffff::2         2001:db8:ffff::1

In the server's PREROUTING, nft redirects connections to other addresses to the server's ports:

    198.18.0.0/16     to V4_PORT, an IPv4 listener
    198.19.0.0/16     to V6_PORT, a dual-stack listener, whose sockets are v4-mapped
    2001:db8:1::/48   to V6_PORT
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import threading

import pytest
from werkzeug.test import create_environ

from ctwsgi.middleware import OriginMiddleware
from ctwsgi.origin import Origin
from ctwsgi.testing import origin_environ
from tests.lab.wait import DEADLINE
from tests.namespaces import entered, named

from .middleware_servers import ask, command, running, wait_until_accepting

SERVER_V4, SERVER_V6 = "192.0.2.1", "2001:db8:ffff::1"
V4_PORT, V6_PORT = 7004, 7006

RULES = f"""
table inet middleware {{
    chain pre {{
        type nat hook prerouting priority dstnat;
        ip daddr 198.18.0.0/16 meta l4proto tcp redirect to :{V4_PORT}
        ip daddr 198.19.0.0/16 meta l4proto tcp redirect to :{V6_PORT}
        ip6 daddr 2001:db8:1::/48 meta l4proto tcp redirect to :{V6_PORT}
    }}
}}
"""


def needs() -> str | None:
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else None


namespaces = pytest.mark.skipif(needs() is not None, reason=str(needs()))


class Net:
    """The two namespaces. `dial()` connects from the client's."""

    _numbers = itertools.count()
    # The kernel gives one port to connections to different destinations. After a REDIRECT these are
    # the same connection, so NAT changes the port of the second, and the app sees another client.
    _ports = itertools.cycle(range(10_000, 32_000))

    def __init__(self):
        stem = f"ctmw-{os.getpid()}-{next(self._numbers)}"
        self.client, self.server = f"{stem}-c", f"{stem}-s"

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in (self.client, self.server):
            if os.path.exists(f"/run/netns/{name}"):
                run("ip", "netns", "delete", name)

    def _build(self):
        for name in (self.client, self.server):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        veth = ("link", "add", "veth", "netns", self.client, "type", "veth", "peer", "name", "veth")
        run("ip", *veth, "netns", self.server)
        for name, number in ((self.server, 1), (self.client, 2)):
            run("ip", "-n", name, "address", "add", f"192.0.2.{number}/24", "dev", "veth")
            v6 = f"2001:db8:ffff::{number}/64"
            run("ip", "-n", name, "address", "add", v6, "dev", "veth", "nodad")
        for name in (self.client, self.server):
            run("ip", "-n", name, "link", "set", "veth", "up")
        run("ip", "-n", self.client, "route", "add", "default", "via", SERVER_V4)
        run("ip", "-n", self.client, "-6", "route", "add", "default", "via", SERVER_V6)
        run("ip", "netns", "exec", self.server, "nft", "-f", "-", text=RULES)

    def dial(self, host, port):
        with entered(named(self.client)):
            return socket.create_connection((host, port), DEADLINE, ("", next(self._ports)))


def run(*command, text=None):
    subprocess.run(command, input=text, text=True, check=True)


@contextlib.contextmanager
def serving(net, server, directory, options=None):
    """The app in the server namespace, on the IPv4 and on the dual-stack listener."""
    with contextlib.ExitStack() as stack:
        for bind in (("0.0.0.0", V4_PORT), ("::", V6_PORT)):
            where = directory / str(bind[1])
            where.mkdir()
            entered = ["ip", "netns", "exec", net.server, *command(server, bind)]
            process = stack.enter_context(running(entered, where, options))
            address = (SERVER_V6 if ":" in bind[0] else SERVER_V4, bind[1])
            wait_until_accepting(process, lambda a=address: net.dial(*a), where / "log")
        yield


GTHREAD = pytest.param("gunicorn-gthread", marks=pytest.mark.full)
FLASK_RUN = pytest.param("flask-run", marks=pytest.mark.full)
SERVERS = ["gunicorn-sync", "gunicorn-gevent", GTHREAD, FLASK_RUN, "ctwsgi-serve"]
KEEPS_ALIVE = ["gunicorn-gevent", GTHREAD, "ctwsgi-serve"]
"""The sync worker and werkzeug's server close after each response."""

REDIRECTED = {
    "v4": ("198.18.7.1", 80),
    "v4-other-port": ("198.18.255.254", 65535),
    "v4-own-port": ("198.18.7.2", V4_PORT),
    "v4-mapped": ("198.19.7.3", 8080),
    "v6": ("2001:db8:1::7", 80),
    "v6-own-port": ("2001:db8:1:2:3:4:5:6", V6_PORT),
}
DIRECT = {
    "v4": (SERVER_V4, V4_PORT),
    "v4-mapped": (SERVER_V4, V6_PORT),
    "v6": (SERVER_V6, V6_PORT),
}


@pytest.fixture(scope="module")
def site(request, tmp_path_factory):
    """(server, net): that server running in its own pair of namespaces."""
    with Net() as net, serving(net, request.param, tmp_path_factory.mktemp(request.param)):
        yield request.param, net


@namespaces
class TestConntrack:
    @pytest.mark.parametrize("site", SERVERS, indirect=True)
    @pytest.mark.parametrize("case", REDIRECTED)
    def test_a_redirected_client_is_seen_where_it_was_going(self, site, case):
        sock = site[1].dial(*REDIRECTED[case])
        peer = list(sock.getsockname()[:2])
        [(status, got)] = ask(sock)
        assert status == 200
        assert got["redirected"] is True
        assert got["ct.orig_dst"] == list(REDIRECTED[case])
        assert got["ct.orig_src"] == peer
        assert (got["ct.source"], got["ct.verified"]) == ("conntrack", True)
        assert [got["REMOTE_ADDR"], got["REMOTE_PORT"]] == [peer[0], str(peer[1])]
        assert got["SERVER_PORT"] == str(V4_PORT if "198.18" in REDIRECTED[case][0] else V6_PORT)
        assert got["HTTP_HOST"] == "name.example"

    @pytest.mark.parametrize("site", SERVERS, indirect=True)
    @pytest.mark.parametrize("case", DIRECT)
    def test_a_direct_client_is_not_redirected(self, site, case):
        sock = site[1].dial(*DIRECT[case])
        peer = list(sock.getsockname()[:2])
        [(status, got)] = ask(sock)
        assert status == 200
        assert (got["redirected"], got["ct.orig_dst"]) == (False, None)
        assert (got["ct.source"], got["ct.orig_src"]) == ("conntrack", peer)
        assert got["ct.verified"] is False
        assert [got["REMOTE_ADDR"], got["REMOTE_PORT"]] == [peer[0], str(peer[1])]

    @pytest.mark.parametrize("site", SERVERS, indirect=True)
    def test_no_header_changes_it(self, site):
        forged = {
            "ct.orig_dst": "x",
            "Ct-Orig-Dst": "x",
            "Proxy-Addr": "192.0.2.66",
            "Proxy-Protocol": "TCP4",
            "X-Forwarded-For": "192.0.2.66",
            "Forwarded": "for=192.0.2.66",
        }
        [(status, got)] = ask(site[1].dial(*REDIRECTED["v4"]), **forged)
        assert status == 200
        assert got["ct.orig_dst"] == list(REDIRECTED["v4"])
        assert got["ct.verified"] is True
        assert got["REMOTE_ADDR"] == "192.0.2.2"

    @pytest.mark.parametrize("site", KEEPS_ALIVE, indirect=True)
    @pytest.mark.parametrize("case", ["v4", "v4-mapped", "v6"])
    def test_it_holds_for_every_request_of_a_connection(self, site, case):
        first, *others = ask(site[1].dial(*REDIRECTED[case]), count=4)
        assert first[1]["ct.orig_dst"] == list(REDIRECTED[case])
        assert others == [first] * 3

    @pytest.mark.parametrize("site", SERVERS, indirect=True)
    def test_clients_at_the_same_time_each_have_their_own(self, site):
        going = [(f"198.{18 + n % 2}.9.{n}", 1000 + n) for n in range(1, 21)]
        socks = [site[1].dial(*destination) for destination in going]
        got = {}

        def visit(destination, sock):
            got[destination] = ask(sock)

        threads = [
            threading.Thread(target=visit, args=pair) for pair in zip(going, socks, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {d: a[0][1]["ct.orig_dst"] for d, a in got.items()} == {d: list(d) for d in going}


@namespaces
@pytest.mark.parametrize(
    "server",
    ["gunicorn-gevent", FLASK_RUN, pytest.param("ctwsgi-serve", marks=pytest.mark.full)],
)
def test_options_under_a_real_server(server, tmp_path):
    options = {
        "allow": ["198.18.1.0/24", "198.18.2.1:80", "2001:db8:1::/64", SERVER_V4],
        "refuse_loops": True,
        "self_addresses": ["198.18.1.99"],
        "rewrite_server": True,
    }
    with Net() as net, serving(net, server, tmp_path, options):
        # The server's own address, at another port than the listener's: redirected, and a loop.
        rule = f"add rule inet middleware pre ip daddr {SERVER_V4} tcp dport 81 redirect to :"
        run("ip", "netns", "exec", net.server, "nft", f"{rule}{V4_PORT}")

        def status(host, port):
            [(status, answer)] = ask(net.dial(host, port))
            assert status == 200 or host not in answer
            return status

        assert status("198.18.1.7", 8080) == 200
        assert status("198.18.2.1", 80) == 200
        assert status("198.18.2.1", 81) == 421
        assert status("198.18.3.1", 80) == 421
        assert status("2001:db8:1::7", 80) == 200
        assert status("2001:db8:1:1::7", 80) == 421
        assert status("198.18.1.99", 80) == 508
        assert status(SERVER_V4, 81) == 508
        assert status(SERVER_V4, V4_PORT) == 421, "direct: no destination to be on the list"

        [(_, got)] = ask(net.dial("2001:db8:1::7", 8080))
        assert (got["SERVER_NAME"], got["SERVER_PORT"]) == ("2001:db8:1::7", "8080")
        assert got["HTTP_HOST"] == "name.example"
        with net.dial("2001:db8:1::7", 8080) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.split()[1] == b"200"
        assert json.loads(body)["HTTP_HOST"] == "[2001:db8:1::7]:8080"


@pytest.fixture(scope="module")
def net():
    with Net() as net:
        yield net


@namespaces
class TestOneConnection:
    """Sockets of a redirected connection, handed to the middleware in this process."""

    @pytest.fixture
    def redirected(self, net):
        with entered(named(net.server)):
            listener = socket.create_server(("0.0.0.0", V4_PORT))
        with listener, net.dial("198.18.7.7", 80) as client, listener.accept()[0] as accepted:
            yield accepted, client

    def see(self, middleware, sock):
        seen = {}

        def app(environ, start_response):
            seen.update(environ)
            return []

        middleware.app = app
        keys = {"werkzeug.socket": sock, "REMOTE_ADDR": "192.0.2.2", "REMOTE_PORT": 1}
        list(middleware(create_environ(environ_overrides=keys), lambda *_: None))
        return seen["ct.origin"]

    def test_one_origin_for_all_of_its_requests(self, redirected):
        accepted, client = redirected
        middleware = OriginMiddleware(None)
        origin = self.see(middleware, accepted)
        assert origin == Origin("conntrack", ("198.18.7.7", 80), client.getsockname(), True)
        assert self.see(middleware, accepted) is origin

    def test_a_client_that_reset_is_no_traceback(self, redirected):
        accepted, client = redirected
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)
        origin = self.see(OriginMiddleware(None), accepted)
        assert origin == Origin("conntrack", ("198.18.7.7", 80), None, True)

    def test_a_loop_to_a_listener_that_no_interface_names(self, net):
        """A local route (AnyIP) makes addresses ours that no interface has."""
        run("ip", "-n", net.client, "route", "add", "local", "198.51.100.0/24", "dev", "lo")
        with entered(named(net.client)):
            listener = socket.create_server(("198.51.100.1", 0))
            client = socket.create_connection(listener.getsockname())
        here = listener.getsockname()
        with listener, client, listener.accept()[0] as accepted:
            middleware = OriginMiddleware(None, refuse_loops=True)
            keys = {**origin_environ(*here, source="proxy"), "gunicorn.socket": accepted}
            statuses = []
            environ = create_environ(environ_overrides=keys)
            list(middleware(environ, lambda status, headers: statuses.append(status)))
        assert statuses == ["508 Loop Detected"]

    def test_where_nothing_is_redirected_the_origin_is_falsy(self, net):
        """The client's namespace has no nat rule; its kernel may track connections or not."""
        with entered(named(net.client)):
            listener = socket.create_server(("127.0.0.1", 0))
            client = socket.create_connection(listener.getsockname())
        with listener, client, listener.accept()[0] as accepted:
            origin = self.see(OriginMiddleware(None), accepted)
            peer = client.getsockname()
        assert origin in (Origin("conntrack", None, peer), Origin("none", None, peer))
