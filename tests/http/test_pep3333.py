# SPDX-License-Identifier: MIT
"""PEP 3333 as checked by two validators, over a real socket, in every framing.

An AssertionError of wsgiref.validate and a warning of werkzeug's LintMiddleware fail a test.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import create_environ

from .cases import chunked, get, lines, post
from .wire import Client, Running, until

pytestmark = [
    pytest.mark.filterwarnings("error::wsgiref.validate.WSGIWarning"),
    pytest.mark.filterwarnings("error::werkzeug.middleware.lint.WSGIWarning"),
    pytest.mark.filterwarnings("error::werkzeug.middleware.lint.HTTPWarning"),
]

TEXT = [("Content-Type", "text/plain")]
Apps = dict[str, Callable[[dict[str, Any], Any], Iterable[bytes]]]
APPS: Apps = {}


def app(function: Any) -> Any:
    APPS[function.__name__] = function
    return function


@app
def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return [b"hello"]


@app
def unframed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return [b"hel", b"lo"]


@app
def generator(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"hel"
    yield b"lo"


@app
def writes(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    write = start_response("200 OK", TEXT)
    write(b"hel")
    return [b"lo"]


@app
def read(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 1000))
    start_response("200 OK", TEXT)
    return [b"hello" if body in (b"hello", b"") else body]


@app
def read_lines(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = b"".join(environ["wsgi.input"])
    start_response("200 OK", TEXT)
    return [b"hello" if body in (b"hello", b"") else b"wrong"]


@app
def file_wrapper(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"))  # type: ignore[no-any-return]


@app
def no_content(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    # werkzeug requires the length. RFC 9110, 8.6 forbids it on the wire, so the server drops it.
    start_response("204 No Content", [("Content-Length", "0")])
    return []


@app
def not_modified(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


@app
def fails(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    import sys

    try:
        raise ValueError("as the test wants")
    except ValueError:
        start_response("500 Internal Server Error", TEXT, sys.exc_info())
    return [b"hello"]


@app
def errors(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].writelines([])
    environ["wsgi.errors"].flush()
    start_response("200 OK", TEXT)
    return [b"hello"]


REQUESTS = {
    "GET": get(),
    "GET with a query": get(target=b"/a/b%20c?d=e&f"),
    "HEAD": get(method=b"HEAD"),
    "POST": post(b"Content-Type: text/plain", b"Content-Length: 5", body=b"hello"),
    "POST chunked": post(b"Transfer-Encoding: chunked", body=chunked(b"hel", b"lo")),
    "1.0": lines(b"GET / HTTP/1.0"),
    "POST 1.0": lines(b"POST / HTTP/1.0", b"Content-Length: 5", body=b"hello"),
    "every header": get(b"Cookie: a=b", b"X-A: caf\xe9", b"Accept: */*", b"Expect: 100-continue"),
}
WRAPPERS = {"wsgiref": validator, "werkzeug": LintMiddleware, "neither": lambda a: a}


class Collector:
    """Runs the wrapped application, and records the validator's complaints."""

    def __init__(self) -> None:
        self.application: Any = None
        self.complaints: list[BaseException] = []
        self.running = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        self.running += 1
        result = None
        try:
            result = self.application(environ, start_response)
            yield from result
        except BaseException as e:
            self.complaints.append(e)
            raise
        finally:
            try:
                if hasattr(result, "close"):
                    result.close()  # the validators check the whole response in close()
            except BaseException as e:
                self.complaints.append(e)
                raise
            finally:
                self.running -= 1

    def verdict(self) -> list[BaseException]:
        until(lambda: not self.running, "the application to end")
        return self.complaints


@pytest.fixture(scope="module")
def collector() -> Collector:
    return Collector()


@pytest.fixture(scope="module")
def server(collector: Collector) -> Iterator[Running]:
    with Running(collector) as running:
        yield running


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", APPS)
def test_valid(
    server: Running, collector: Collector, name: str, wrapper: str, request_name: str
) -> None:
    collector.application = WRAPPERS[wrapper](APPS[name])
    collector.complaints.clear()
    method = "HEAD" if request_name == "HEAD" else "GET"
    with Client(server.tcp) as client:
        r = client.ask(REQUESTS[request_name], method)
        if "1.0" not in request_name:
            assert client.ask(get(), "GET").status == r.status
    assert collector.verdict() == []
    expected = {"no_content": 204, "not_modified": 304, "fails": 500}.get(name, 200)
    assert r.status == expected
    if method != "HEAD" and expected not in (204, 304):
        assert r.body == b"hello"


def test_the_validators_can_fail(server: Running, collector: Collector) -> None:
    def bad(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200", [("Content-Type", "text/plain")])  # no reason phrase
        return [b""]

    for wrapper in (validator, LintMiddleware):
        collector.application = wrapper(bad)
        collector.complaints.clear()
        with Client(server.tcp) as client:
            client.send(get())
            until(lambda: collector.complaints, f"a complaint of {wrapper}")


def test_environ_holds_what_pep_3333_requires(server: Running, collector: Collector) -> None:
    seen: list[dict[str, Any]] = []

    def keep(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(dict(environ))
        start_response("204 No Content", [])
        return []

    collector.application = keep
    with Client(server.tcp) as client:
        assert client.ask(get(target=b"/a?b=c")).status == 204
        # Applications rely on the keys that werkzeug's test client sets.
        needed = {k for k in create_environ("/a", method="GET") if k[0].isupper() or "wsgi." in k}
        needed -= {k for k in needed if k.startswith(("HTTP_", "werkzeug."))}
        needed.discard("REQUEST_URI")  # werkzeug's own second name for RAW_URI
        assert needed <= set(seen[0]), needed - set(seen[0])
        environ = seen[0]
        assert environ["SERVER_NAME"] == "127.0.0.1"
        assert environ["SERVER_PORT"] == str(server.tcp[1])
        assert environ["REMOTE_PORT"] == str(client.sock.getsockname()[1])
        for key, value in environ.items():
            if "." not in key:
                assert type(value) is str, key
        assert not any(hasattr(v, "getpeername") for v in environ.values()), "a raw socket"


def test_the_environ_of_a_unix_socket(server: Running, collector: Collector) -> None:
    seen: list[dict[str, Any]] = []

    def keep(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(dict(environ))
        start_response("204 No Content", [])
        return []

    collector.application = validator(keep)
    with Client(server.unix) as client:
        assert client.ask(get(), "GET").status == 204
    environ = seen[0]
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert environ["REMOTE_ADDR"] == ""


def test_each_request_has_an_environ_of_its_own(server: Running, collector: Collector) -> None:
    def spoil(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = b",".join(k.encode() for k in environ if k.startswith("spoilt"))
        environ["spoilt"] = environ["wsgi.version"] = environ["REMOTE_ADDR"] = "yes"
        start_response("200 OK", [])
        return [body + environ["wsgi.url_scheme"].encode()]

    collector.application = spoil
    with Client(server.tcp) as client:
        for _ in range(2):
            assert client.ask(get()).body == b"http"
