# SPDX-License-Identifier: MIT
"""Clients as people use them: curl with what its options put on the wire, http.client, requests."""

from __future__ import annotations

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from .cases import Recorder
from .wire import Running

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def server(recorder: Recorder) -> Iterator[Running]:
    with Running(recorder) as running:
        yield running


@pytest.fixture
def url(server: Running, recorder: Recorder) -> str:
    recorder.calls.clear()
    return "http://127.0.0.1:%d" % server.tcp[1]


def curl(*arguments: str, feed: bytes = b"") -> bytes:
    assert CURL is not None
    command = [CURL, "-sS", "--noproxy", "", "--max-time", "20", *arguments]
    return subprocess.run(command, input=feed, check=True, stdout=subprocess.PIPE).stdout


@needs_curl
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2", "--http0.9"])
def test_curl_posts(url: str, recorder: Recorder, version: str) -> None:
    """--http2 sends `Upgrade: h2c` with the body behind it, which llhttp forgets about."""
    assert curl(version, "-d", "hello", url + "/1", "-d", "world", url + "/2") == b"hello&world" * 2
    assert [c["body"] for c in recorder.calls] == [b"hello&world"] * 2


@needs_curl
def test_curl_reuses_the_connection_after_an_ignored_upgrade(url: str) -> None:
    opened = curl("--http2", "-w", ",%{num_connects};", "-d", "x", url, url, url)
    assert opened == b"x,1;x,0;x,0;"


@needs_curl
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_expects_100(url: str, recorder: Recorder, tmp_path: Path, version: str) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"0123456789" * 300_000)
    data = curl(version, "-H", "Expect: 100-continue", "--data-binary", f"@{path}", url)
    assert data == path.read_bytes()


@needs_curl
def test_curl_uploads_chunks(url: str, recorder: Recorder) -> None:
    body = b"0123456789" * 50_000
    assert curl("-T", "-", url, feed=body) == body
    assert recorder.calls[0]["environ"]["HTTP_TRANSFER_ENCODING"] == "chunked"


@needs_curl
def test_curl_head(url: str) -> None:
    assert b"200 OK" in curl("-I", url + "/app/generator", url + "/app/list")


@needs_curl
def test_curl_through_us_as_a_proxy(url: str, recorder: Recorder) -> None:
    curl("-x", url, "http://nowhere.example/a?b=c")
    environ = recorder.calls[0]["environ"]
    assert environ["HTTP_HOST"] == "nowhere.example"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a", "b=c")


@needs_curl
def test_curl_fails_on_a_broken_response(url: str) -> None:
    for app in ("too-short", "raises-after-data"):
        with pytest.raises(subprocess.CalledProcessError):
            curl(f"{url}/app/{app}")


def test_http_client_keeps_the_connection(server: Running) -> None:
    connection = http.client.HTTPConnection(*server.tcp, timeout=20)
    for path in ("/app/list", "/app/generator", "/app/204", "/app/304", "/app/list"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert connection.sock is not None, f"closed after {path}"
    connection.close()


def test_requests_streams_both_ways(url: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        parts = [b"a" * 1000, b"b" * 100_000]
        response = session.post(url, data=iter(parts), timeout=20)
        assert response.content == b"".join(parts)
        assert session.get(url + "/app/generator", timeout=20).text == "hello"
