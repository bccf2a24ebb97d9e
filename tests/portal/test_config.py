# SPDX-License-Identifier: MIT
"""The configuration: what the default says, and that each wrong value is named with its line."""

from __future__ import annotations

from pathlib import Path

import ctwsgi_portal.config
import pytest
from ctwsgi_portal.config import ConfigError, load, parse
from ctwsgi_portal.config.lines import key_lines
from ctwsgi_portal.config.toml import tomllib

DEFAULT = (Path(ctwsgi_portal.config.__file__).parent / "portal.toml").read_text("utf-8")

GOOD = """\
[portal]
name = "Hotel"
url = "http://192.0.2.1:8081"
store = "sqlite:/tmp/x.db"
secret_file = "/tmp/secret"
[listen.redirected]
bind = "192.0.2.1:8080"
[listen.portal]
bind = "192.0.2.1:8081"
[access]
methods = ["click"]
[[networks]]
name = "guests"
addresses = ["192.0.2.0/24"]
"""
HASH = "scrypt:32768:8:1$abc$0123"


def test_the_default_is_valid_and_says_what_is_in_it():
    config = parse(DEFAULT)
    assert config.portal.url == "http://192.0.2.1:8081"
    assert config.access.methods == ("click",)
    assert config.access.lifetime == 8 * 3600
    assert config.admin is None
    assert config.listen.api is None
    assert not config.log.access
    assert not config.log.clients
    assert set(config.terms) == {"en", "zh"}
    assert config.networks.of("192.0.2.7").name == "guests"
    assert config.networks.of("2001:db8:1::7").name == "guests"
    assert config.networks.of("192.0.3.1") is None


def uncommented() -> str:
    """The default with every setting that it shows as a comment switched on."""
    lines = []
    for line in DEFAULT.splitlines():
        bare = line.removeprefix("# ")
        is_setting = bare.startswith("[") or (
            " = " in bare and bare.split(" = ")[0].replace("_", "").isalpha()
        )
        lines.append(bare if line.startswith("# ") and is_setting else line)
    text = "\n".join(lines).replace('"scrypt:..."', f'"{HASH}"').replace('theme = ""', "")
    return text.replace("redirect_port = 9000", "")  # instead of redirect_to


def test_the_defaults_in_its_comments_are_settings_that_exist():
    text = uncommented()
    assert text.count("\n# ") < DEFAULT.count("\n# ")
    config = parse(text)
    assert config.listen.api is not None
    assert config.admin.user == "admin"
    assert config.users == {"alice": HASH}


def test_a_network_inherits_and_overrides():
    text = GOOD.replace('methods = ["click"]', 'methods = ["click"]\nlimit = "1GB"\nextend = false')
    text += 'methods = ["voucher"]\n[[networks]]\nname = "b"\naddresses = "10.0.0.0/8"\nlimit = 0\n'
    first, second = parse(text).networks
    assert (first.access.methods, first.access.limit_bytes) == (("voucher",), 10**9)
    assert (second.access.methods, second.access.limit_bytes) == (("click",), None)
    assert not first.access.extend
    assert not second.access.extend


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://Portal.Example/", "http://portal.example"),
        ("http://[2001:DB8:0:0::1]:8081", "http://[2001:db8::1]:8081"),
        ("https://192.0.2.1:443", "https://192.0.2.1:443"),
    ],
)
def test_the_url_is_spelled_as_browsers_spell_it(written, read):
    assert parse(GOOD.replace("http://192.0.2.1:8081", written)).portal.url == read


MISTAKES = [
    ('name = "Hotel"', "name = 7", 2, "portal.name", "7 is not a string"),
    ('name = "Hotel"', 'name = ""', 2, "portal.name", "is empty"),
    ('name = "Hotel"', "", 1, "portal", "lacks name"),
    ('name = "Hotel"', 'nmae = "x"\nname = "Hotel"', 2, "portal.nmae", "is name meant?"),
    ('"http://192.0.2.1:8081"', '"192.0.2.1"', 3, "portal.url", "http://"),
    ('"http://192.0.2.1:8081"', '"http://h/path"', 3, "portal.url", "write http://HOST"),
    ('"http://192.0.2.1:8081"', '"http://h:99999"', 3, "portal.url", "out of range"),
    ('"http://192.0.2.1:8081"', '"http://[::g]"', 3, "portal.url", "::g"),
    ('"http://192.0.2.1:8081"', '"javascript:x"', 3, "portal.url", "http://"),
    ("secret_file", 'url6 = "https://[2001:db8::1]"\nsecret_file', 5, "portal.url6", "like url"),
    ("secret_file", 'url6 = "http://[::g]"\nsecret_file', 5, "portal.url6", "::g"),
    ("secret_file", "workers = 0\nsecret_file", 5, "portal.workers", "0 is not from 1 to 64"),
    ("secret_file", "workers = true\nsecret_file", 5, "portal.workers", "whole number"),
    ("secret_file", 'own = ["h"]\nsecret_file', 5, "portal.own", "ADDR"),
    ("secret_file", 'language = "de"\nsecret_file', 5, "portal.language", "one of en, zh"),
    ('"192.0.2.1:8080"', '"192.0.2.1"', 7, "listen.redirected.bind", "lacks a port"),
    ('"192.0.2.1:8080"', '"host:80"', 7, "listen.redirected.bind", "ADDR:PORT"),
    ('"192.0.2.1:8080"', '["1.2.3.4:1", "1.2.3.4:2"]', 7, "listen.redirected.bind", "same port"),
    ('"192.0.2.1:8081"\n', '"192.0.2.1:8080"\n', 9, "listen.portal.bind", "port 8080"),
    ('"192.0.2.1:8080"', '"192.0.2.1:8080"\nsource = "none"',
     8, "listen.redirected.source", "no destination"),
    ('"192.0.2.1:8080"', '"192.0.2.1:8080"\nsource = "ctframe"\ntrust = "10.0.0.1/32"',
     8, "listen.redirected.source", "names no client"),
    ('"192.0.2.1:8080"', '"192.0.2.1:8080"\nsource = "guess"',
     8, "listen.redirected.source", "one of"),
    ('"192.0.2.1:8080"', '"192.0.2.1:8080"\ncertfile = "x"',
     8, "listen.redirected.certfile", "TLS"),
    ("[access]", '[listen.api]\nbind = "1.2.3.4:8443"\n[access]',
     10, "listen.api.certfile", "RFC 8908"),
    ('methods = ["click"]', "methods = []", 11, "access.methods", "lets nobody in"),
    ('methods = ["click"]', 'methods = ["radius"]', 11, "access.methods", "'radius' is not one of"),
    ('methods = ["click"]', 'methods = ["click", 3]', 11, "access.methods", "list of strings"),
    ('methods = ["click"]', "lifetime = 8", 11, "access.lifetime", '"8h"'),
    ('methods = ["click"]', 'lifetime = "8 weeks"', 11, "access.lifetime", "'8 weeks'"),
    ('methods = ["click"]', 'lifetime = "5s"', 11, "access.lifetime", '"60s" to "365d"'),
    ('methods = ["click"]', 'limit = "2 GiB"', 11, "access.limit", '"2GB"'),
    ('methods = ["click"]', 'methods = ["password"]', 1, "users", "there is none"),
    ('["192.0.2.0/24"]', '["192.0.2.1/24"]', 14, "networks[1].addresses", "host bits"),
    ('["192.0.2.0/24"]', "[]", 14, "networks[1].addresses", "is empty"),
    ('["192.0.2.0/24"]', '["10.0.0.0/8", "10.1.0.0/16"]', 14, "networks[1].addresses", "overlaps"),
    ("[[networks]]", '[[networks]]\nname = "guests"\naddresses = ["198.18.0.0/15"]\n[[networks]]',
     16,
     "networks[2].name", "networks[1] as well"),
    ("[[networks]]", '[[networks]]\nname = "b"\naddresses = ["192.0.2.128/25"]\n[[networks]]', 17,
     "networks[2].addresses", "overlaps 192.0.2.128/25 of network 'b'"),
    ("[[networks]]", "[networks]", 12, "networks", "[[networks]]"),
    ("[access]", "[admin]\npassword_hash = 'secret'\n[access]",
     11, "admin.password_hash", "ctwsgi-portal password"),
    ("[access]", "[users]\nbob = 'secret'\n[access]", 11, "users.bob", "ctwsgi-portal password"),
    ("[access]", "[log]\naccess = 'yes'\n[access]", 11, "log.access", "true or false"),
    ("[access]", "[retention]\nsessions = '7 days'\n[access]",
     11, "retention.sessions", "'7 days'"),
    ("[access]", "[radius]\nserver = '1'\n[access]", 10, "radius", "no such setting"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "key", "text"), MISTAKES)
def test_a_wrong_value_is_named_with_its_line(old, new, line, key, text):
    assert GOOD.count(old) >= 1
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new, 1))
    told = str(caught.value).splitlines()
    wanted = [t for t in told if t.startswith(f"portal.toml:{line}: {key}: ")]
    assert len(wanted) == 1, told
    assert text in wanted[0]


def test_networks_of_mapped_addresses_are_ipv4():
    """As the addresses of clients, which are compared with them."""
    admin = f'[admin]\npassword_hash = "{HASH}"\nallow = ["::ffff:10.0.0.0/104", "2001:db8::/32"]\n'
    config = parse(GOOD.replace("[access]", f"{admin}[access]"))
    assert [str(network) for network in config.admin.allow] == ["10.0.0.0/8", "2001:db8::/32"]


def test_all_mistakes_are_told_at_once_in_the_files_order():
    text = GOOD.replace('"Hotel"', "1").replace("192.0.2.0/24", "x").replace('"click"', '"clck"')
    with pytest.raises(ConfigError) as caught:
        parse(text)
    lines = [int(line.split(":")[1]) for line in str(caught.value).splitlines()]
    assert lines == sorted(lines)
    assert {2, 11, 14} <= set(lines)


@pytest.mark.parametrize(
    ("text", "line"), [("[portal", 3), ("name = \n", 3), ('a = "1"\na = "2"', 4), ("= 3\nb = 1", 3)]
)
def test_a_syntax_error_has_its_line_too(text, line):
    with pytest.raises(ConfigError, match=rf"portal\.toml:{line}: [A-Z]"):
        parse("# one\n# two\n" + text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"No such file.*init writes one"):
        load(tmp_path / "portal.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.toml")


def test_lines_of_every_shape_of_toml():
    text = '''\
a = 1  # one

"b c".d = """
x = 1
[no.table]
"""
[t]
list = [
  "[x]", # comment ]
  "y",
]
in.line = { p = 1, q = { r = 2 } }
[[arr]]
n = 1
[arr.sub]
m = 2
[[arr]]

n = 3
[[arr.deep]]
k = 1
[[arr.deep]]
k = 2
'''
    tomllib.loads(text)
    assert key_lines(text) == {
        ("a",): 1,
        ("b c",): 3,
        ("b c", "d"): 3,
        ("t",): 7,
        ("t", "list"): 8,
        ("t", "in"): 12,
        ("t", "in", "line"): 12,
        ("t", "in", "line", "p"): 12,
        ("t", "in", "line", "q"): 12,
        ("t", "in", "line", "q", "r"): 12,
        ("arr", 0): 13,
        ("arr", 0, "n"): 14,
        ("arr", 0, "sub"): 15,
        ("arr", 0, "sub", "m"): 16,
        ("arr", 1): 17,
        ("arr", 1, "n"): 19,
        ("arr", 1, "deep", 0): 20,
        ("arr", 1, "deep", 0, "k"): 21,
        ("arr", 1, "deep", 1): 22,
        ("arr", 1, "deep", 1, "k"): 23,
    }
