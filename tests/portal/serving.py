# SPDX-License-Identifier: MIT
"""`ctwsgi-portal run` as a real process, and clients that visit it over real sockets.

Each portal has a loopback address of its own, so all can have the same three ports. A client has
another address of 127.0.0.0/8 or, over IPv6, ::1. The redirected listener reads PROXY headers;
`Visitor.dial` writes one, as a relay on the gateway does.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.message import Message
from itertools import count
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

from ctwsgi_portal.state import Store, open_store

from tests.lab.wait import DEADLINE, until

REDIRECTED, OWN, API = 28080, 28081, 28443
"""Ports outside the kernel's ephemeral range, which few other programs listen at."""

_numbers = count(secrets.randbelow(200))

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
}

CONFIG = """
[portal]
name = "Example Hotel"
url = "{url}"
store = "{store}"
secret_file = "{folder}/secret"
workers = 1
{portal}
[terms]
en = "Be kind & fair."
zh = "请文明上网。"
[listen.redirected]
bind = "{host}:{redirected}"
source = "proxy"
trust = ["127.0.0.0/8"]
[listen.portal]
bind = "{host}:{own_port}"
{own}
{listen}
[access]
methods = {methods}
lifetime = "2h"
{access}
[[networks]]
name = "guests"
addresses = ["127.0.0.0/9", "::1/128", "10.20.0.0/16", "2001:db8:20::/48"]
{extra}
"""


def fresh_host() -> str:
    """A loopback address for one portal. It is different in each call, and probably in each run."""
    return f"127.{128 + secrets.randbelow(127)}.{os.getpid() % 255}.{1 + next(_numbers) % 254}"


class PortalProcess:
    """A portal that runs inside `with`. `settings` fill the places of CONFIG."""

    def __init__(
        self, folder: Path, *, tls: bool = False, store: str = "", **settings: str
    ) -> None:
        self.folder = folder
        self.host = fresh_host()
        scheme = "https" if tls else "http"
        self.url = settings.pop("url", f"{scheme}://{self.host}:{OWN}")
        self.store_url = store or f"sqlite:{folder}/portal.db"
        self.certificate = make_certificate(folder, self.host) if tls else None
        cert = f'certfile = "{self.certificate}"' if tls else ""
        api = f'[listen.api]\nbind = "{self.host}:{API}"\n{cert}' if tls else ""
        values = {
            "url": self.url,
            "store": self.store_url,
            "folder": str(folder),
            "host": self.host,
            "redirected": str(REDIRECTED),
            "own_port": str(OWN),
            "methods": '["click"]',
            "own": cert,
            "listen": api,
            "portal": "",
            "access": "",
            "extra": "",
        }
        self.config = folder / "portal.toml"
        self.config.write_text(CONFIG.format(**{**values, **settings}), "utf-8")
        secret = folder / "secret"
        secret.write_text(secrets.token_hex(32))
        secret.chmod(0o600)
        self.log_path = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PortalProcess:
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command(), "-c", str(self.config), "run"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._is_up, f"the portal: {self.log}")
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(DEADLINE)
        finally:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        # The master listens before a worker has loaded the application.
        try:
            self.visitor().get("/nothing")
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def store(self) -> Store:
        """The portal's store, opened as an agent opens it."""
        return open_store(self.store_url)

    def run(self, *words: str, status: int = 0, given: str = "") -> str:
        """Runs another command of ctwsgi-portal with this configuration. Returns its output."""
        return run(self.config, *words, status=status, given=given)

    def visitor(self, address: str = "") -> Visitor:
        """A client, with a random address unless one is given."""
        return Visitor(self, address or fresh_client())


def fresh_client() -> str:
    """A random address of the network `guests`."""
    return f"127.{secrets.randbelow(100) + 1}.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"


def command() -> list[str]:
    """The installed command."""
    return [str(Path(sys.executable).with_name("ctwsgi-portal"))]


def run(config: Path, *words: str, status: int = 0, given: str = "") -> str:
    """Runs ctwsgi-portal. Returns both output streams; AssertionError for another exit status."""
    done = subprocess.run(
        [*command(), "-c", str(config), *words],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


@dataclass
class Answer:
    """One response."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return self.headers["Location"] or ""

    def field(self, name: str, form: str = "") -> str:
        """The value of a hidden field. `form` is the form's action, or ACTION#METHOD."""
        action, _, method = form.partition("#")
        for text in re.findall(r"<form.*?</form>", self.text, re.DOTALL):
            if action and f'action="{action}"' not in text:
                continue
            if method and f'name="method" value="{method}"' not in text:
                continue
            if found := re.search(rf'name="{name}" value="([^"]*)"', text):
                return found[1]
        raise AssertionError(f"no field {name} in {self.text}")


@dataclass
class Visitor:
    """A client with one address, and the cookies that the portal has set."""

    portal: PortalProcess
    address: str
    cookies: dict[str, str] = field(default_factory=dict)

    def dial(
        self,
        destination: tuple[str, int] = ("198.18.0.9", 80),
        path: str = "/",
        *,
        host: str = "",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: str | None = None,
    ) -> Answer:
        """The answer to a client that dials `destination` and is redirected."""
        version = 6 if ":" in destination[0] else 4
        source = ("2001:db8:20::5" if "." in self.address else self.address) if version == 6 else (
            self.address
        )  # fmt: skip
        head = f"PROXY TCP{version} {source} {destination[0]} 40000 {destination[1]}\r\n"
        connection = _Prefixed(self.portal.host, REDIRECTED, head.encode())
        name = host or (destination[0] if version == 4 else f"[{destination[0]}]")
        if not host and destination[1] != 80:
            name += f":{destination[1]}"
        sent = {"Host": name, **(BROWSER if headers is None else headers)}
        return _exchange(connection, method, path, body, sent)

    def get(self, path: str = "/", **headers: str) -> Answer:
        """Asks the portal's own listener."""
        return self.request("GET", path, None, **headers)

    def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        """Sends a form to the portal's own listener."""
        return self.request("POST", path, urlencode(form), **headers)

    def request(self, method: str, path: str, body: str | None, **headers: str) -> Answer:
        """Asks the portal's own listener. A `_` in a header's name stands for `-`."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {**BROWSER, **own}
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        answer = _exchange(self._connection(OWN), method, path, body, sent)
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def api(self, path: str = "/captive-portal/api") -> Answer:
        """Asks the listener of RFC 8908, over TLS."""
        return _exchange(self._connection(API), "GET", path, None, {})

    def accept(self, method: str = "click", page: Answer | None = None, **form: str) -> Answer:
        """Sends the form of the splash page, or of `page`."""
        page = page or self.get("/")
        values = {name: page.field(name, f"/accept#{method}") for name in ("token", "to", "lang")}
        return self.post("/accept", {**values, "method": method, **form})

    def log_out(self) -> Answer:
        """Sends the logout form of the status page."""
        return self.post("/logout", {"token": self.get("/status").field("token", "/logout")})

    def follow(self, answer: Answer) -> Answer:
        """Follows a redirect within the portal."""
        where = answer.location.removeprefix(self.portal.url)
        assert where.startswith("/"), answer.location
        return self.get(where)

    def _connection(self, port: int) -> http.client.HTTPConnection:
        source = (self.address, 0)
        if self.portal.certificate is None:
            return http.client.HTTPConnection(
                self.portal.host, port, timeout=DEADLINE, source_address=source
            )
        context = ssl.create_default_context(cafile=str(self.portal.certificate))
        return http.client.HTTPSConnection(
            self.portal.host, port, timeout=DEADLINE, source_address=source, context=context
        )


class _Prefixed(http.client.HTTPConnection):
    """A connection that sends a PROXY header first."""

    def __init__(self, host: str, port: int, head: bytes) -> None:
        super().__init__(host, port, timeout=DEADLINE)
        self._head = head

    def connect(self) -> None:
        super().connect()
        self.sock.sendall(self._head)


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: str | None,
    headers: dict[str, str],
) -> Answer:
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        data = body.encode() if body is not None else None
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


_AUTHORITY = """[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copyall
[any]
commonName = supplied
"""
"""For `openssl ca`, the one command that gives a certificate both its dates in every OpenSSL 3."""


def make_certificate(folder: Path, host: str, days: int = 2) -> Path:
    """Self-signed, for that address, key included. It has expired when `days` is negative."""
    path = folder / "certificate.pem"
    today = datetime.now(timezone.utc)
    start, end = (
        (today + timedelta(days=n)).strftime("%Y%m%d%H%M%SZ") for n in (min(days, 0) - 1, days)
    )
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        key = scratch / "key.pem"
        (scratch / "ca.conf").write_text(_AUTHORITY)
        (scratch / "index.txt").touch()
        for words in (
            ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=portal.test", "-addext", f"subjectAltName=IP:{host},DNS:portal.test",
             "-keyout", "key.pem", "-out", "request.pem"],
            ["ca", "-batch", "-notext", "-selfsign", "-config", "ca.conf", "-keyfile", "key.pem",
             "-startdate", start, "-enddate", end, "-in", "request.pem", "-out", "made.pem"],
        ):  # fmt: skip
            subprocess.run(["openssl", *words], cwd=scratch, check=True, capture_output=True)
        path.write_text((scratch / "made.pem").read_text() + key.read_text())
    return path
