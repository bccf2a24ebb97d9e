# SPDX-License-Identifier: MIT
"""The demo's greeting: three formats, for every path and method, without trusting a word."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from ctwsgi.origin import Origin
from tests.lab.greeting import app, create_app

REDIRECTED = Origin(
    "proxy", orig_dst=("198.18.4.5", 8080), orig_src=("10.77.1.1", 40000), verified=True
)
OVER_IPV6 = Origin("tproxy", orig_dst=("2001:db8::7", 443), orig_src=("fd77::1", 40000))
DIRECT = Origin("none", orig_src=("127.0.0.1", 40000))

ATTACK = "<script>alert(1)</script>&\"'"


@pytest.fixture
def client():
    return create_app().test_client()


def ask(client, origin=REDIRECTED, path="/", method="GET", **options):
    return client.open(path, method=method, environ_overrides=origin.environ(), **options)


def test_the_module_offers_the_factory_and_an_app():
    assert app.test_client().get("/?format=json").json["source"] == "none"


def test_json_has_every_fact(client):
    answer = ask(client, path="/?format=json&nonce=n1")
    assert answer.json == {
        "orig_dst": ["198.18.4.5", 8080],
        "orig_src": ["10.77.1.1", 40000],
        "source": "proxy",
        "verified": True,
        "host": "localhost",
        "nonce": "n1",
    }


def test_the_nonce_may_come_in_the_body(client):
    answer = ask(client, path="/any?format=json", method="POST", data={"nonce": "n2"})
    assert answer.json["nonce"] == "n2"


@pytest.mark.parametrize(
    ("path", "accept", "mimetype"),
    [
        ("/", None, "text/plain"),
        ("/", "*/*", "text/plain"),
        ("/", "text/plain", "text/plain"),
        ("/", "application/json", "application/json"),
        ("/", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("/", "image/png", "text/plain"),
        ("/text", "text/html", "text/plain"),
        ("/json", "text/html", "application/json"),
        ("/html", "text/plain", "text/html"),
        ("/?format=text", "text/html", "text/plain"),
        ("/?format=json", "text/html", "application/json"),
        ("/?format=html", "text/plain", "text/html"),
        ("/?format=nonsense", "text/html", "text/html"),
    ],
)
def test_format(client, path, accept, mimetype):
    headers = {"Accept": accept} if accept else {}
    answer = ask(client, path=path, headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, mimetype)


@pytest.mark.parametrize("path", ["/", "//", "//a//b", "/a/b/c.html", "/static/x", "/%2e%2e/%00"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_path_and_method_is_greeted(client, path, method):
    answer = ask(client, path=path, method=method, headers={"Accept": "application/json"})
    assert answer.json["orig_dst"] == ["198.18.4.5", 8080]


def test_text_says_it_in_the_first_line(client):
    assert ask(client, path="/text").text.splitlines() == [
        "You were going to 198.18.4.5:8080.",
        "visitor: 10.77.1.1:40000",
        "source: proxy",
        "verified: yes",
        "host: localhost",
    ]


def test_text_of_ipv6_and_of_a_direct_visit(client):
    assert ask(client, OVER_IPV6, "/text").text.startswith("You were going to [2001:db8::7]:443.\n")
    direct = ask(client, DIRECT, "/text").text
    assert direct.startswith("You came straight to me.\n")
    assert "verified: no\n" in direct


class Page(HTMLParser):
    """What the tests ask of a page: its tags with attributes, and the text of its elements."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        for tag in self._open:
            self.words[tag] = self.words.get(tag, "") + data


@pytest.mark.parametrize(
    ("origin", "heading"),
    [
        (REDIRECTED, "You were going to 198.18.4.5:8080"),
        (OVER_IPV6, "You were going to [2001:db8::7]:443"),
        (DIRECT, "You came straight to me"),
    ],
)
def test_the_page_is_accessible_html(client, origin, heading):
    answer = ask(client, origin, "/html")
    page = Page(answer.text)
    names = [tag for tag, _ in page.tags]
    assert answer.text.startswith("<!doctype html>")
    assert ("html", {"lang": "en"}) in page.tags
    assert page.words["title"] == heading
    assert page.words["h1"] == heading
    assert names.count("main") == names.count("h1") == 1
    assert names.count("dt") == names.count("dd")
    assert "script" not in names
    assert origin.source in page.words["main"]


@pytest.mark.parametrize("path", ["/html", "/text", "/json"])
def test_the_clients_words_never_become_markup(client, path):
    answer = ask(client, path=f"{path}?nonce={ATTACK}", headers={"Host": ATTACK})
    page = Page(answer.text)
    if answer.mimetype == "text/html":
        assert "script" not in [tag for tag, _ in page.tags]
        assert ATTACK in page.words["dd"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]


def test_no_cache_may_keep_an_answer(client):
    assert ask(client).headers["Cache-Control"] == "no-store"


def test_a_large_form_is_refused_plainly(client):
    answer = ask(client, method="POST", data={"nonce": "x" * 100_000})
    assert (answer.status_code, answer.mimetype) == (413, "text/plain")
