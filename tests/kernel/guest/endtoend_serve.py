# SPDX-License-Identifier: MIT
"""curl visits `ctwsgi serve` behind an injector, on the injector's own host and on another.

One process serves both hosts, because it inherits listening sockets made in the two namespaces:

    port 8081   --source ctframe --trust inline --guarded     IPv4
    port 8082   --source proxy --trust inline, signed         IPv4, IPv6
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOL_SOCKET, SOMAXCONN
from typing import Any

from ctwsgi.wire.auth import Key
from ctwsgi.wire.proxy import encode_v2

from .case import Trial
from .endtoend_field import PYTHON, STARTS, Program, dials, family, signing, translated
from .judge import require
from .kernel import until
from .lab import Lab
from .places import GATEWAY, SERVER, Address

PORTS = {"ctframe": 8081, "ctproxy": 8082}
SOURCES = {"ctframe": "ctframe", "ctproxy": "proxy"}
KEY = Key(7, secrets.token_bytes(32))
VISITS = 2

_REQUEST = b"GET /json HTTP/1.1\r\nHost: forged\r\nConnection: close\r\n\r\n"


@cache
def served(lab: Lab) -> Program:
    """Starts the server, once. The first case waits for it."""
    program = Program("ctwsgi-serve")
    key_file = program.folder / "keys"
    key_file.touch(mode=0o600)
    key_file.write_text(f"{KEY.id} {KEY.secret.hex()}\n")
    words, listeners = ["--trust", "inline", "--guarded"], []
    for helper, port in PORTS.items():
        for version in (4, 6) if helper == "ctproxy" else (4,):
            for space, host in ((lab.server, SERVER[version]), (lab.gateway, GATEWAY[version])):
                sock = space.socket(AF_INET if version == 4 else AF_INET6)
                sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                if version == 6:
                    sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
                sock.bind((host, port))
                sock.listen(SOMAXCONN)
                listeners.append(sock)
                bind = f"fd://{sock.fileno()}"
                words += ["--bind", bind, "--source", f"{bind}={SOURCES[helper]}"]
                words += ["--auth-key-file", f"{bind}={key_file}"] if helper == "ctproxy" else []
    argv = [PYTHON, "-m", "ctwsgi", "serve", *words, "tests.lab.greeting:app"]
    program.start(argv, [sock.fileno() for sock in listeners], {"PYTHONUNBUFFERED": "1"})
    for sock in listeners:
        sock.close()
    return program


async def _ready(trial: Trial) -> Program:
    program = served(trial.lab)
    await program.logged("Booting worker", limit=STARTS)
    return program


def _signing(trial: Trial) -> AbstractContextManager[None]:
    if not trial.injector.per_connection:
        return nullcontext()
    return signing(trial, f"{KEY.id} {KEY.secret.hex()}")


def _format(trial: Trial) -> str:
    """The helper whose format this injector writes."""
    return "ctproxy" if trial.injector.per_connection else "ctframe"


async def visits(trial: Trial) -> None:
    """Each answer has the visitor's destination and source, and the source of this knowledge."""
    program = await _ready(trial)
    with _signing(trial), translated(trial, PORTS[_format(trial)]):
        for _ in range(VISITS):
            _visit(trial)
    program.require_alive()


def _visit(trial: Trial) -> None:
    port = next(trial.session.ports)
    destination = trial.place.original(port)
    nonce = secrets.token_hex(16)
    answer = _curl(trial, destination, port, nonce)
    wanted = {
        "orig_dst": list(destination),
        "orig_src": [trial.place.source, port],
        "source": SOURCES[_format(trial)],
        "verified": trial.injector.per_connection,
        "nonce": nonce,
    }
    wrong = [f"{k} is {answer.get(k)}, not {v}" for k, v in wanted.items() if answer.get(k) != v]
    require(not wrong, "; ".join(wrong))


def _curl(trial: Trial, destination: Address, port: int, nonce: str) -> dict[str, Any]:
    host = f"[{destination[0]}]" if trial.place.version == 6 else destination[0]
    said = trial.client.run(
        *("curl", "--disable", "--silent", "--show-error", "--globoff", "--noproxy", "*"),
        *("--max-time", "60", "--local-port", str(port)),
        *("--header", "Accept: application/json", "--data", f"nonce={nonce}"),
        f"http://{host}:{destination[1]}/",
    )
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError:
        answer = {"nonce": said[:200]}
    return answer


async def guard_stands(trial: Trial) -> None:
    """A client that dials the server without NAT gets no answer; without the guard it does."""
    await _ready(trial)
    port = PORTS[_format(trial)]
    with _signing(trial), translated(trial, port):
        _visit(trial)
        require(not await dials(trial, port, guarded=True), "the guard let a direct SYN through")
    with translated(trial, port, guarded=False):
        require(await dials(trial, port, guarded=False), "no direct SYN arrives anyway")


async def no_forgery(trial: Trial) -> None:
    """An origin that the client writes itself is never accepted."""
    program = await _ready(trial)
    helper = _format(trial)
    with _signing(trial), translated(trial, PORTS[helper], guarded=False):
        # Through the injector: behind the true origin, the client's own is a syntax error.
        port = next(trial.session.ports)
        forged = _forged(trial, port)
        answer = await _send(trial, trial.place.original(port), port, forged + _REQUEST)
        require(answer.startswith(b"HTTP/1.1 400 "), f"behind the origin: {answer[:80]!r}")
        if helper == "ctproxy":
            # Past the injector: no guard is loaded here, so only the signature rejects it.
            since = len(program.log())
            port = next(trial.session.ports)
            forged = _forged(trial, port)
            answer = await _send(
                trial, (trial.place.target, PORTS[helper]), port, forged + _REQUEST
            )
            require(not answer, f"an unsigned header was answered: {answer[:80]!r}")
            await program.logged("origin refused: auth-missing", since)


def _forged(trial: Trial, port: int) -> bytes:
    """An origin in the injector's format for another destination, unsigned."""
    host, there = trial.place.original(port + 1)
    if trial.injector.per_connection:
        return encode_v2((trial.place.source, port), (host, there), now=time.time())
    address = bytes(map(int, host.split(".")))
    return address + there.to_bytes(2, "little") + len(_REQUEST).to_bytes(2, "little")


async def _send(trial: Trial, destination: Address, port: int, data: bytes) -> bytes:
    """Returns all that comes back until the server closes."""
    answer = bytearray()
    closed = False

    def ended() -> bool:
        nonlocal closed
        try:
            piece = sock.recv(65536)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True  # a refusal may close with our bytes unread
        answer.extend(piece)
        return not piece

    with trial.client.socket(family(trial.place)) as sock:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind((trial.place.source, port))
        sock.settimeout(60)
        sock.connect(destination)
        sock.sendall(data)
        sock.setblocking(False)
        await until(ended, "the end of the answer")
    return bytes(answer)
