# SPDX-License-Identifier: MIT
"""The pages: size, accessibility, both languages, themes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import ctwsgi_portal.web
import pytest
from ctwsgi_portal.web import language
from ctwsgi_portal.web.plot import HOURS, plot
from werkzeug.security import generate_password_hash

from .serving import PortalProcess

WEB = Path(ctwsgi_portal.web.__file__).parent

LARGEST = 16 * 1024
"""Bytes of a page, which then needs a dozen packets on a bad radio link."""

VOID = {"meta", "input", "br", "hr", "line", "img", "link"}


class Page(HTMLParser):
    """The tags with their attributes, and the text. Asserts that tags nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], ""
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    hashed = generate_password_hash("operator")
    with PortalProcess(
        tmp_path_factory.mktemp("pages"),
        methods='["click", "voucher", "password"]',
        extra=f'[users]\nx = "{hashed}"\n[admin]\npassword_hash = "{hashed}"\n'
        'allow = ["127.0.0.0/8"]\nkick = true\n',
    ) as running:
        yield running


def pages(portal, lang):
    """Every kind of page by name."""
    guest = portal.visitor()
    query = f"?lang={lang}"
    accept_language = {"Accept-Language": lang}
    splash = guest.get(f"/{query}")
    yield "splash", splash
    token = splash.field("token", "/accept")
    yield (
        "mistake",
        guest.post("/accept", {"token": token, "method": "voucher", "code": "x", "lang": lang}),
    )
    yield "error", guest.get(f"/nothing{query}")
    yield "login", guest.get(f"/admin{query}")
    guest.accept(page=splash)
    yield "status", guest.get(f"/status{query}")
    headers = {"Accept": "text/html", **accept_language}
    yield "connecting", guest.dial(headers=headers)
    token = guest.get("/admin").field("token", "/admin/login")
    guest.post("/admin/login", {"token": token, "user": "admin", "password": "operator"})
    yield "admin", guest.get(f"/admin{query}")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_page_is_accessible_and_complete(portal, lang):
    for name, answer in pages(portal, lang):
        page = Page(answer.text)
        assert answer.text.startswith("<!doctype html>"), name
        assert len(answer.body) < LARGEST * (3 if name == "admin" else 1), name
        assert page.all("html") == [{"lang": language.TAGS[lang]}], name
        assert answer.headers["Content-Language"] == language.TAGS[lang], name
        assert "Accept-Language" in answer.headers["Vary"], name
        viewport = [m for m in page.all("meta") if m.get("name") == "viewport"]
        assert viewport == [{"name": "viewport", "content": "width=device-width, initial-scale=1"}]
        for tag in ("main", "h1", "title"):
            assert len(page.all(tag)) == (1 if tag != "title" or name != "admin" else 50), name
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids)), name
        labels = {label["for"] for label in page.all("label")}
        shown = [i for i in page.all("input") if i.get("type") != "hidden"]
        assert {i["id"] for i in shown} == labels, name
        for _, attributes in page.tags:
            for reference in ("aria-labelledby", "aria-describedby"):
                assert attributes.get(reference) in (None, *ids), name
            assert "tabindex" not in attributes or attributes["tabindex"] == "0"
        texts = language.TEXTS[lang]
        assert not re.search(r"\{\{|\{%|\{n\}", answer.text), name
        other = language.TEXTS["zh" if lang == "en" else "en"]
        assert (texts["title"] in page.words) or name in ("status", "connecting", "login", "admin")
        assert other["title"] not in page.words, name


def test_the_fields_help_phones_and_password_managers(portal):
    inputs = {i.get("name"): i for i in Page(portal.visitor().get("/").text).all("input")}
    assert inputs["user"]["autocomplete"] == "username"
    assert inputs["user"]["autocapitalize"] == "none"
    assert inputs["password"]["autocomplete"] == "current-password"
    assert inputs["password"]["type"] == "password"
    assert inputs["code"]["autocapitalize"] == "characters"
    assert inputs["code"]["autocomplete"] == "off"


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(x * y for x, y in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one, two):
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_of_text_is_wcag_aa_in_both_schemes():
    style = (WEB / "style.css").read_text()
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", scheme))
        for text, ground in (
            ("ink", "paper"),
            ("soft", "paper"),
            ("accent", "paper"),
            ("on-accent", "accent"),
            ("wrong", "wrong-paper"),
        ):
            assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)


def test_the_languages_have_the_same_texts():
    english, chinese = language.TEXTS["en"], language.TEXTS["zh"]
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert re.findall(r"\{.*?\}", text) == re.findall(r"\{.*?\}", chinese[key]), key
        assert text.strip()
        assert chinese[key].strip()
    templates = "".join(p.read_text() for p in (WEB / "templates").iterdir())
    used = set(re.findall(r"\bt\.(\w+)", templates))
    assert used <= english.keys()
    code = "".join(p.read_text() for p in WEB.glob("*.py"))
    for key in english.keys() - used:
        assert f'"{key}"' in code or key.startswith("error_"), f"nobody uses {key}"


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("zh", "zh-Hans"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("zh-TW", "zh-Hans"),
        ("de,fr;q=0.9,zh;q=0.1", "zh-Hans"),
        ("de,fr", "en"),
        ("en;q=0.1,zh;q=0.9", "zh-Hans"),
        ("", "en"),
        ("*", "en"),
        (";;q=,,", "en"),
    ],
)
def test_accept_language(portal, asked, got):
    answer = portal.visitor().get("/", Accept_Language=asked)
    assert answer.headers["Content-Language"] == got


def test_the_language_can_be_switched_and_stays(portal):
    visitor = portal.visitor()
    page = visitor.follow(visitor.dial(host="news.example"))
    links = {a["hreflang"]: a["href"] for a in Page(page.text).all("a") if "hreflang" in a}
    assert set(links) == {"zh"}
    chinese = visitor.get(links["zh"])
    assert 'lang="zh-Hans"' in chinese.text
    assert "news.example" in chinese.text
    assert 'lang="zh-Hans"' in visitor.follow(visitor.accept(page=chinese)).text


def test_the_terms_are_text_not_markup(tmp_path):
    with PortalProcess(tmp_path) as portal:
        pass
    text = portal.config.read_text()
    terms = 'en = """First <b>bold</b> & more.\n\nSecond."""'
    portal.config.write_text(text.replace('en = "Be kind & fair."', terms))
    with portal:
        page = portal.visitor().get("/")
        assert "<p>First &lt;b&gt;bold&lt;/b&gt; &amp; more.</p>" in page.text
        assert "<p>Second.</p>" in page.text


def test_a_theme_is_one_template_and_one_style_sheet(tmp_path):
    theme = tmp_path / "theme"
    theme.mkdir()
    (theme / "style.css").write_text("h1 { color: #123456 }")
    splash = (WEB / "templates" / "splash.html").read_text()
    (theme / "splash.html").write_text(splash.replace("{{ t.intro }}", "OUR INTRODUCTION"))
    with PortalProcess(tmp_path, portal=f'theme = "{theme}"') as portal:
        visitor = portal.visitor()
        page = visitor.get("/")
        assert "<style>h1 { color: #123456 }</style>" in page.text
        assert "OUR INTRODUCTION" in page.text
        assert visitor.accept(page=page).status == 303  # its form is ours
        assert "OUR INTRODUCTION" not in visitor.get("/status").text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 min"), (-5, "1 min"), (59, "1 min"), (3600, "1 h"), (7384, "2 h 3 min"),
     (90000, "1 d 1 h"), (365 * 86400, "365 d")],
)  # fmt: skip
def test_durations(seconds, text):
    assert language.duration(seconds, language.TEXTS["en"]) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1500, "1.5 KB"), (999_499, "999 KB"),
     (999_999, "1 MB"),
     (12_345_678, "12.3 MB"), (2 * 10**9, "2 GB"), (5 * 10**15, "5000 TB")],
)  # fmt: skip
def test_sizes(count, text):
    assert language.size(count) == text


def test_the_plot_is_to_scale():
    at = 1_800_000_000.0
    hour = at // 3600 * 3600
    drawn = plot([(hour, 5), (hour - 3600, 10), (hour - HOURS * 3600, 99)], at)
    assert len(drawn.bars) == HOURS
    assert (drawn.top, drawn.total) == (10, 15)
    last, before = drawn.bars[-1], drawn.bars[-2]
    assert before.height == pytest.approx(2 * last.height)
    assert before.y == 8
    assert last.y + last.height == pytest.approx(138)
    assert last.x + last.width <= 720
    assert plot([], at).top == 1
    for most, top in ((1, 1), (2, 2), (3, 5), (11, 20), (501, 1000)):
        assert plot([(hour, most)], at).top == top
