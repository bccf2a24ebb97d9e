"""`ctwsgi relay` behind a real REDIRECT: a client namespace, a gateway namespace, one veth pair.

    client 198.18.0.2, 2001:db8::2 --- 198.18.0.1, 2001:db8::1 gateway (relay, upstream)

The client dials addresses that exist nowhere. Sockets are made inside a namespace and used from
outside, so one process plays all parts but the relay's.
"""

from __future__ import annotations

import ctypes
import hashlib
import ipaddress
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ctwsgi.errors import OriginError, Reason
from ctwsgi.wire import proxy
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.ctframe import FrameDecoder

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0
CLIENT, GATEWAY = "198.18.0.2", "198.18.0.1"
CLIENT_V6, GATEWAY_V6 = "2001:db8::2", "2001:db8::1"
KEY_1, KEY_2 = "1 " + "11" * 16, "2 " + "22" * 32
_CLONE_NEWNET = 0x40000000
_RST = struct.pack("ii", 1, 0)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")
needs_tools = pytest.mark.skipif(
    not (shutil.which("nft") and shutil.which("ip")), reason="needs nft and ip (iproute2)"
)
pytestmark = [needs_root, needs_tools]


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def wait_for(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE
    while not (answer := true()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return answer


class Namespace:
    """A network namespace; `with` puts the current thread, and what it starts, inside."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)

    def nft(self, rules: str) -> None:
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", stdin=rules)

    def remove(self) -> None:
        run("ip", "netns", "del", self.name)

    @contextmanager
    def inside(self) -> Iterator[None]:
        setns = ctypes.CDLL(None, use_errno=True).setns
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            assert setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert setns(home.fileno(), _CLONE_NEWNET) == 0


class Link:
    """The two namespaces and the veth pair between them."""

    def __init__(self, stack: ExitStack) -> None:
        mark = f"ctr{os.getpid()}"
        self.client = self._namespace(stack, f"{mark}c")
        self.gateway = self._namespace(stack, f"{mark}g")
        self.client.ip("link", "add", "near", "type", "veth", "peer", "far", "netns", f"{mark}g")
        for ns, device, v4, v6 in (
            (self.client, "near", CLIENT, CLIENT_V6),
            (self.gateway, "far", GATEWAY, GATEWAY_V6),
        ):
            ns.ip("addr", "add", f"{v4}/24", "dev", device)
            ns.ip("addr", "add", f"{v6}/64", "dev", device, "nodad")
            ns.ip("link", "set", device, "up")
        self.client.ip("route", "add", "default", "via", GATEWAY)
        self.client.ip("-6", "route", "add", "default", "via", GATEWAY_V6)
        # Something has to route them, or the gateway could not answer in their name.
        self.gateway.ip("route", "add", "default", "via", CLIENT)
        self.gateway.ip("-6", "route", "add", "default", "via", CLIENT_V6)

    def _namespace(self, stack: ExitStack, name: str) -> Namespace:
        ns = Namespace(name)
        stack.callback(ns.remove)
        return ns

    def redirect(self, port: int, chain: str = "prerouting", match: str = 'iifname "far"') -> None:
        self.gateway.nft(
            f"""
            table inet relay {{
                chain nat_{chain} {{
                    type nat hook {chain} priority -100;
                    {match} meta l4proto tcp redirect to :{port}
                }}
            }}
            """
        )

    def clear(self) -> None:
        self.gateway.nft("flush ruleset")


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    with ExitStack() as stack:
        yield Link(stack)


class RelayProcess:
    """`ctwsgi relay` in the gateway; what it logs is in `log()`."""

    def __init__(
        self, link: Link, stack: ExitStack, path: Path, arguments: tuple[str, ...]
    ) -> None:
        self._log = path
        command = [sys.executable, "-m", "ctwsgi", "relay", *arguments]
        with link.gateway.inside(), path.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT)
        stack.callback(self._end)
        count = arguments.count("--listen")
        wait_for(
            lambda: self.process.poll() is not None or len(self.ports()) == count, "the listeners"
        )
        assert self.process.poll() is None, self.log()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def log(self) -> str:
        return self._log.read_text()

    def ports(self) -> list[int]:
        return [int(port) for port in re.findall(r"listening on \S+:(\d+)", self.log())]

    def counters(self) -> dict[str, int]:
        """Asked of the process with SIGUSR1."""
        before = self.log().count("counters:")
        self.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: self.log().count("counters:") > before, "the counters")
        wait_for(lambda: self.log().endswith("\n"), "the end of the line")
        return self.last_counters()

    def last_counters(self) -> dict[str, int]:
        line = self.log().rpartition("counters:")[2].splitlines()[0]
        return {name: int(number) for name, _, number in (w.rpartition("=") for w in line.split())}

    def wait_count(self, name: str, number: int = 1) -> None:
        wait_for(lambda: self.counters().get(name, 0) == number, f"{name}={number}: {self.log()}")

    def stop(self) -> dict[str, int]:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE) == 0
        return self.last_counters()


class Field:
    """One test's relay, upstream and client sockets."""

    def __init__(self, link: Link, stack: ExitStack, path: Path) -> None:
        self.link = link
        self.stack = stack
        self._path = path

    def start(self, *arguments: str, upstream: str | None = None) -> RelayProcess:
        """With an upstream of ours, unless one is named; and everything is redirected to it."""
        if upstream is None:
            with self.link.gateway.inside():
                self.upstream = self.stack.enter_context(
                    socket.create_server(("127.0.0.1", 0), backlog=512)
                )
            self.upstream.settimeout(DEADLINE)
            upstream = "127.0.0.1:%d" % self.upstream.getsockname()[1]
        self.relay = RelayProcess(
            self.link,
            self.stack,
            self._path / "relay.log",
            ("--listen", "0.0.0.0:0", "--upstream", upstream, *arguments),
        )
        self.link.redirect(self.relay.ports()[0])
        return self.relay

    def start_v6(self, *arguments: str, upstream: str | None = None) -> RelayProcess:
        """As start(), but what is redirected is what arrives over IPv6."""
        relay = self.start("--listen", "[::]:0", *arguments, upstream=upstream)
        self.link.clear()
        self.link.redirect(relay.ports()[1])
        return relay

    def dial(self, address: tuple[str, int] | None = None) -> socket.socket:
        with self.link.client.inside():
            sock = socket.create_connection(address or somewhere(), DEADLINE)
        return self.stack.enter_context(sock)

    def accept(self) -> socket.socket:
        sock, _ = self.upstream.accept()
        sock.settimeout(DEADLINE)
        return self.stack.enter_context(sock)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.dial()
        return client, self.accept()


@pytest.fixture
def field(link: Link, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        stack.callback(link.clear)
        yield Field(link, stack, tmp_path)


def somewhere() -> tuple[str, int]:
    """An address and a port that exist nowhere; not in the gateway's own network."""
    return f"198.19.{random.randrange(256)}.{random.randrange(256)}", random.randrange(1, 65536)


def somewhere_v6() -> tuple[str, int]:
    host = int(ipaddress.IPv6Address("2001:db8:1::")) + random.getrandbits(64)
    return str(ipaddress.IPv6Address(host)), random.randrange(1, 65536)


def receive_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part, f"ended after {len(data)} of {size} bytes"
        data += part
    return bytes(data)


def receive_header(sock: socket.socket, keys: KeyRing | None = None) -> proxy.Header:
    fixed = receive_exactly(sock, 16)
    raw = fixed + receive_exactly(sock, int.from_bytes(fixed[14:], "big"))
    decoded = proxy.decode(raw, keys=keys)
    assert decoded is not None
    return decoded[0]


def hard_reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    sock.close()


def assert_dial_is_reset(field: Field, address: tuple[str, int] | None = None) -> None:
    with pytest.raises(ConnectionResetError):
        receive_all(field.dial(address))


# What is written


@pytest.mark.parametrize("options", [(), ("--crc32c",)], ids=["plain", "crc32c"])
def test_proxy_ipv4(field, options):
    field.start("--format", "proxy", *options)
    for _ in range(5):
        dialled = somewhere()
        client = field.dial(dialled)
        client.sendall(b"hello")
        server = field.accept()
        header = receive_header(server)
        assert (header.dst, header.src) == (dialled, client.getsockname())
        assert header.src[0] == CLIENT
        assert receive_exactly(server, 5) == b"hello"
    assert field.relay.counters() == {"active": 5, "accepted": 5, "relayed": 5}


def test_proxy_ipv6(field):
    field.start_v6("--format", "proxy")
    for _ in range(5):
        dialled = somewhere_v6()
        client = field.dial(dialled)
        header = receive_header(field.accept())
        assert (header.dst, header.src) == (dialled, client.getsockname()[:2])
        assert header.src[0] == CLIENT_V6


def test_ctframe_ipv4(field):
    field.start("--format", "ctframe")
    for _ in range(5):
        dialled = somewhere()
        client = field.dial(dialled)
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        decoder = FrameDecoder()
        assert decoder.feed(receive_all(field.accept())) == b"hello"
        decoder.eof()
        assert decoder.destination == dialled


def test_ctframe_refuses_ipv6(field):
    relay = field.start_v6("--format", "ctframe")
    assert_dial_is_reset(field, somewhere_v6())
    relay.wait_count("refused:not-ipv4")


def test_signed_headers_and_keys_read_again_on_hup(field, tmp_path):
    path = tmp_path / "keys"

    def write(text: str, mode: int = 0o600) -> None:
        path.write_text(text)
        path.chmod(mode)

    def hup(says: str) -> None:
        before = field.relay.log().count(says)
        field.relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: field.relay.log().count(says) > before, says)

    def signed_by() -> int | None:
        return receive_header(field.pair()[1], ring).auth

    ring = KeyRing.parse(f"{KEY_1}\n{KEY_2}\n")
    write(f"{KEY_2}\n")
    field.start("--format", "proxy", "--auth-key-file", str(path))
    assert signed_by() == 2
    write(f"{KEY_2}\n{KEY_1}\n")
    hup("signing with key 1")
    assert signed_by() == 1
    for text, mode in (("nonsense\n", 0o600), (f"{KEY_2}\n", 0o644)):
        write(text, mode)
        hup("the old keys stay")
        assert signed_by() == 1
    assert "11" * 16 not in field.relay.log()
    with pytest.raises(OriginError) as refused:
        receive_header(field.pair()[1], KeyRing.parse("1 " + "33" * 16))
    assert refused.value.reason is Reason.AUTH_TAG


def test_hup_without_a_key_file_is_survived(field):
    relay = field.start("--format", "ctframe")
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "no key file" in relay.log(), "the answer to SIGHUP")
    assert relay.process.poll() is None


def test_server_first(field):
    field.start("--format", "proxy")
    client, server = field.pair()
    receive_header(server)
    server.sendall(b"220 ready\r\n")
    assert client.recv(100) == b"220 ready\r\n"


# What is refused


def test_loops_and_direct_connections_are_refused(field):
    relay = field.start_v6(
        "--format", "proxy", "--self", "198.19.5.5", "--self", "[2001:db8:5::5]:443"
    )
    v4, v6 = relay.ports()
    assert_dial_is_reset(field, (GATEWAY_V6, 80))
    relay.wait_count("refused:loop", 1)
    assert_dial_is_reset(field, ("2001:db8:5::5", 443))
    relay.wait_count("refused:loop", 2)
    assert_dial_is_reset(field, (GATEWAY_V6, v6))
    relay.wait_count("refused:not-redirected", 1)
    field.link.clear()
    field.link.redirect(v4)
    assert_dial_is_reset(field, (GATEWAY, 80))
    relay.wait_count("refused:loop", 3)
    assert_dial_is_reset(field, ("198.19.5.5", 8080))
    relay.wait_count("refused:loop", 4)
    assert_dial_is_reset(field, (GATEWAY, v4))
    relay.wait_count("refused:not-redirected", 2)
    assert "relayed" not in relay.counters()
    assert "loop" in relay.log()
    receive_header(field.pair()[1])
    assert relay.counters()["relayed"] == 1


def test_a_redirect_rule_that_catches_the_relay_itself_is_a_loop(field):
    """The classic: nat OUTPUT redirects all, the relay's call to the upstream among it."""
    upstream = somewhere()
    relay = field.start("--format", "proxy", upstream="%s:%d" % upstream)
    field.link.redirect(relay.ports()[0], "output", f"ip daddr {upstream[0]}")
    assert_dial_is_reset(field)
    relay.wait_count("refused:loop")
    assert relay.counters()["accepted"] == 2
    assert "exempt it from the redirect rule" in relay.log()


def test_an_upstream_that_refuses(field):
    with field.link.gateway.inside(), socket.create_server(("127.0.0.1", 0)) as taken:
        upstream = "127.0.0.1:%d" % taken.getsockname()[1]
    relay = field.start("--format", "proxy", upstream=upstream)
    assert_dial_is_reset(field)
    relay.wait_count("upstream:ECONNREFUSED")


def test_the_rules_of_the_manual(field):
    """docs/relay.md, word for word but for the device and the port."""
    relay = field.start_v6("--format", "proxy")
    v4, v6 = relay.ports()
    field.link.clear()
    manual = (ROOT / "docs" / "relay.md").read_text()
    rules = manual.partition("<<'RULES'\n")[2].partition("RULES\n")[0]
    v4_rule, v6_rule = (line for line in rules.splitlines() if "redirect to :8080" in line)
    rules = rules.replace(v4_rule, v4_rule.replace("8080", str(v4)))
    rules = rules.replace(v6_rule, v6_rule.replace("8080", str(v6)))
    field.link.gateway.nft(rules.replace("lan0", "far").replace("8080", f"{{ {v4}, {v6} }}"))
    for host in (somewhere()[0], somewhere_v6()[0]):
        client = field.dial((host, 80))
        header = receive_header(field.accept())
        assert (header.dst, header.src) == ((host, 80), client.getsockname()[:2])
    for direct in ((GATEWAY, v4), (GATEWAY_V6, v6)):
        with field.link.client.inside(), pytest.raises(TimeoutError):
            socket.create_connection(direct, 0.5)
    assert relay.counters() == {"active": 2, "accepted": 2, "relayed": 2}


# What passes through


@pytest.mark.parametrize("format_", ["proxy", "ctframe"])
def test_ten_megabytes_both_ways_and_half_close(field, format_):
    field.start("--format", format_)
    for client_ends_first in (True, False):
        client, server = field.pair()
        up, down = os.urandom(10 << 20), os.urandom(10 << 20)
        first, second = ((client, up), (server, down))[:: 1 if client_ends_first else -1]
        got: dict[socket.socket, bytes] = {}
        threads = [
            threading.Thread(target=receive_into, args=(got, sock)) for sock in (client, server)
        ]
        for thread in threads:
            thread.start()
        send_and_finish(*first)
        other = threads[1] if client_ends_first else threads[0]
        other.join(DEADLINE)  # one side has seen the end, and the other direction still goes
        send_and_finish(*second)
        for thread in threads:
            thread.join(DEADLINE)
        stream = got[server]
        payload = FrameDecoder().feed(stream) if format_ == "ctframe" else stream[28:]
        assert hashlib.sha256(payload).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(got[client]).digest() == hashlib.sha256(down).digest()
    assert field.relay.stop() == {"active": 0, "accepted": 2, "relayed": 2}


def receive_into(got: dict[socket.socket, bytes], sock: socket.socket) -> None:
    got[sock] = receive_all(sock)


def send_and_finish(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_resets_pass_through_both_ways(field):
    relay = field.start("--format", "proxy")
    client, server = field.pair()
    receive_header(server)
    hard_reset(client)
    with pytest.raises(ConnectionResetError):
        receive_all(server)
    client, server = field.pair()
    receive_header(server)
    hard_reset(server)
    with pytest.raises(ConnectionResetError):
        receive_all(client)
    relay.wait_count("reset:client")
    relay.wait_count("reset:upstream")


@pytest.mark.parametrize("format_", ["proxy", "ctframe"])
def test_memory_is_bounded_while_the_upstream_stalls(field, format_):
    relay = field.start("--format", format_)
    memory = psutil.Process(relay.process.pid).memory_info
    client, server = field.pair()
    client.sendall(b"x")
    server.recv(1, socket.MSG_PEEK)
    before = memory().rss
    block, blocks = os.urandom(1 << 20), 200
    sent = [0]

    def push() -> None:
        for _ in range(blocks):
            client.sendall(block)
            sent[0] += 1
        client.shutdown(socket.SHUT_WR)

    client.settimeout(None)
    pusher = threading.Thread(target=push, daemon=True)
    pusher.start()
    wait_until_still(lambda: sent[0])
    assert sent[0] < blocks, "nothing held the sender back"
    peak = memory().rss
    digest, decoder, received = hashlib.sha256(), FrameDecoder(), 0
    skip = 28 if format_ == "proxy" else 0
    receive_exactly(server, skip)
    while part := server.recv(1 << 20):
        payload = decoder.feed(part) if format_ == "ctframe" else part
        digest.update(payload)
        received += len(payload)
        peak = max(peak, memory().rss)
    pusher.join(DEADLINE)
    assert received == 1 + blocks * len(block)
    expected = hashlib.sha256(b"x")
    for _ in range(blocks):
        expected.update(block)
    assert digest.digest() == expected.digest()
    assert peak - before < 8 << 20, f"grew by {(peak - before) >> 10} KiB"


def wait_until_still(value: Callable[[], int], seconds: float = 1.0) -> None:
    """Until `value` is above 0 and has not changed for a while."""
    deadline = time.monotonic() + DEADLINE
    last, since = value(), time.monotonic()
    while not last or time.monotonic() - since < seconds:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        if (now := value()) != last:
            last, since = now, time.monotonic()


def serve_echo(field: Field) -> None:
    """An upstream that takes the header, echoes until the end, and closes: in threads."""

    def echo(sock: socket.socket) -> None:
        with sock:
            try:
                receive_header(sock)
                while part := sock.recv(1 << 16):
                    sock.sendall(part)
            except (OSError, AssertionError):
                return

    def accept() -> None:
        while True:
            try:
                sock, _ = field.upstream.accept()
            except OSError:
                return
            sock.settimeout(DEADLINE)
            threading.Thread(target=echo, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def test_two_hundred_connections_at_once(field):
    relay = field.start("--format", "proxy")
    serve_echo(field)
    clients = [field.dial() for _ in range(200)]
    for number, client in enumerate(clients):
        client.sendall(b"%d:" % number + bytes(1000))
    for number, client in enumerate(clients):
        expected = b"%d:" % number + bytes(1000)
        assert receive_exactly(client, len(expected)) == expected
    assert relay.counters()["active"] == 200
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
    wait_for(lambda: relay.counters()["active"] == 0, "all to end")
    assert relay.stop() == {"active": 0, "accepted": 200, "relayed": 200}


def test_running_out_of_descriptors_does_not_spin(field):
    relay = field.start("--format", "proxy")
    serve_echo(field)
    process = psutil.Process(relay.process.pid)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 20, 4096))
    started = time.monotonic()
    clients = [field.dial() for _ in range(40)]

    def starved() -> int:
        counters = relay.counters()
        return counters.get("accept:EMFILE", 0) + counters.get("upstream:EMFILE", 0)

    wait_for(lambda: starved() > 2, "EMFILE")
    failures = relay.counters().get("accept:EMFILE", 0)
    assert failures <= 1 + (time.monotonic() - started) / 0.2
    process.rlimit(psutil.RLIMIT_NOFILE, (4096, 4096))
    served = 0
    for client in clients:
        try:
            client.sendall(b"x")
            served += client.recv(1) == b"x"
        except (ConnectionResetError, BrokenPipeError):
            pass  # accepted, and then there was no descriptor for the upstream
    counters = relay.counters()
    assert served == counters["relayed"]
    assert served + counters.get("upstream:EMFILE", 0) == counters["accepted"] == 40
    assert served >= 20


# How it stops


def test_sigterm_under_load_ends_what_runs(field):
    relay = field.start("--format", "proxy")
    serve_echo(field)
    stop, failures, done = threading.Event(), [], []
    clients = [field.dial() for _ in range(20)]

    def load(client: socket.socket) -> None:
        try:
            for _ in range(1 << 20):
                client.sendall(bytes(10_000))
                receive_exactly(client, 10_000)
                if stop.is_set():
                    break
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
            done.append(client)
        except (OSError, AssertionError) as e:
            failures.append(e)

    threads = [threading.Thread(target=load, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    relay.wait_count("relayed", 20)
    relay.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in relay.log(), "the answer to SIGTERM")
    with pytest.raises(ConnectionRefusedError):
        field.dial()
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == []
    assert len(done) == 20
    assert relay.process.wait(DEADLINE) == 0
    assert relay.last_counters() == {"active": 0, "accepted": 20, "relayed": 20}
    assert "Traceback" not in relay.log()


@pytest.mark.parametrize("end", [("--graceful-timeout", "0.2"), ("second signal",)])
def test_sigterm_does_not_wait_for_ever(field, end):
    options = end if end[0].startswith("--") else ("--graceful-timeout", "3600")
    relay = field.start("--format", "proxy", *options)
    client, server = field.pair()
    receive_header(server)
    relay.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in relay.log(), "the answer to SIGTERM")
    if end == ("second signal",):
        relay.process.send_signal(signal.SIGTERM)
    with pytest.raises(ConnectionResetError):
        receive_all(client)
    assert relay.process.wait(DEADLINE) == 0
    assert relay.last_counters() == {"active": 0, "accepted": 1, "relayed": 1, "stopped": 1}


# Receivers that others wrote


def spawn(field: Field, *command: str) -> subprocess.Popen[bytes]:
    with field.link.gateway.inside():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end() -> None:
        process.terminate()
        process.wait(DEADLINE)

    field.stack.callback(end)
    return process


def free_port(field: Field) -> int:
    with field.link.gateway.inside(), socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def get(field: Field, address: tuple[str, int]) -> str:
    client = field.dial(address)
    client.sendall(b"GET / HTTP/1.1\r\nHost: somewhere\r\nConnection: close\r\n\r\n")
    head, _, body = receive_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return body.decode()


def start_nginx(field: Field, tmp_path: Path) -> int:
    if not (program := shutil.which("nginx")):
        pytest.skip("needs nginx")
    port = free_port(field)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"""
        daemon off; master_process off; worker_processes 1;
        pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;
        events {{ }}
        http {{
            access_log off;
            client_body_temp_path {tmp_path}/t1; proxy_temp_path {tmp_path}/t2;
            fastcgi_temp_path {tmp_path}/t3; uwsgi_temp_path {tmp_path}/t4;
            scgi_temp_path {tmp_path}/t5;
            server {{
                listen 127.0.0.1:{port} proxy_protocol;
                set $dialled "$proxy_protocol_server_addr $proxy_protocol_server_port";
                return 200 "$dialled $proxy_protocol_addr";
            }}
        }}
        """
    )
    spawn(field, program, "-c", str(config), "-p", str(tmp_path), "-e", f"{tmp_path}/error.log")
    return port


def start_haproxy(field: Field, tmp_path: Path) -> int:
    if not (program := shutil.which("haproxy")):
        pytest.skip("needs haproxy")
    port = free_port(field)
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"""
defaults
    mode http
    timeout client 30s
    timeout connect 30s
    timeout server 30s
frontend f
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[dst] %[dst_port] %[src]"
"""
    )
    spawn(field, program, "-db", "-f", str(config))
    return port


@pytest.mark.parametrize("options", ["plain", "crc32c", "signed", "signed crc32c"])
@pytest.mark.parametrize("receiver", [start_nginx, start_haproxy], ids=["nginx", "haproxy"])
def test_other_receivers_read_our_header(field, tmp_path, receiver, options):
    port = receiver(field, tmp_path)
    with field.link.gateway.inside():
        wait_for(lambda: answers(port), f"port {port}")
    keys = tmp_path / "keys"
    keys.write_text(KEY_1)
    keys.chmod(0o600)
    words = [*(["--crc32c"] if "crc32c" in options else [])]
    words += ["--auth-key-file", str(keys)] if "signed" in options else []
    relay = field.start_v6("--format", "proxy", *words, upstream=f"127.0.0.1:{port}")
    dialled = somewhere_v6()
    assert get(field, dialled) == f"{dialled[0]} {dialled[1]} {CLIENT_V6}"
    field.link.clear()
    field.link.redirect(relay.ports()[0])
    for _ in range(5):
        dialled = somewhere()
        assert get(field, dialled) == f"{dialled[0]} {dialled[1]} {CLIENT}"


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True
