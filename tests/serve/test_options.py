# SPDX-License-Identifier: MIT
"""The listener that an option is for, and errors in options. No test starts a process."""

from __future__ import annotations

import re

import pytest
from gunicorn import config as gunicorn_config

from ctwsgi.serving import honoured
from ctwsgi.serving.listeners import names_of
from ctwsgi.serving.options import Options, assign, from_environ, from_settings, show_name
from ctwsgi.serving.settings import Config
from tests import ROOT

A, B, C = ("127.0.0.1", 80), "/run/a=b", 3
LISTENERS = [frozenset([A]), frozenset([B]), frozenset([C])]


def sources(*words: str) -> list[str]:
    return [chosen.source for chosen in assign(Options(source=words), LISTENERS)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["none", "none", "none"]),
        (["proxy"], ["proxy", "proxy", "proxy"]),
        (["127.0.0.1:80=proxy"], ["proxy", "none", "none"]),
        (["127.0.0.1:80=proxy", "ctframe"], ["proxy", "ctframe", "ctframe"]),
        (["ctframe", "127.0.0.1:80=proxy"], ["proxy", "ctframe", "ctframe"]),
        (["unix:/run/a=b=proxy"], ["none", "proxy", "none"]),
        (["unix:///run/a=b=proxy"], ["none", "proxy", "none"]),
        (["fd://3=conntrack", "tcp://127.0.0.1:80=tproxy"], ["tproxy", "none", "conntrack"]),
    ],
)
def test_words_find_their_listener(words: list[str], expected: list[str]) -> None:
    assert sources(*words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["127.0.0.1:81=proxy"], "no --bind is 127.0.0.1:81; there are 127.0.0.1:80, unix:/run/"),
        (["127.0.0.1=proxy"], "no --bind is 127.0.0.1"),
        (["fd://x=proxy"], "'x' is not a valid file descriptor"),
        (["127.0.0.1:http=proxy"], "not a valid port number"),
        (["=proxy"], "neither WORD nor BIND=WORD"),
        (["127.0.0.1:80="], "neither WORD nor BIND=WORD"),
        ([""], "neither WORD nor BIND=WORD"),
        (["proxy", "none"], "--source is given 2 times"),
        (["fd://3=proxy", "fd://3=proxy"], "--source is given 2 times"),
        (["PROXY"], "--source PROXY: choose one of"),
    ],
)
def test_words_that_find_none(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sources(*words)


def test_a_listeners_own_words_replace_the_general_ones() -> None:
    options = Options(
        source=("proxy",),
        trust=("192.0.2.0/24,198.51.100.0/24", "203.0.113.0/24", "fd://3=inline"),
        auth_key_file=("one", "fd://3=two"),
        guarded=True,
        snat=True,
    )
    first, second, third = assign(options, LISTENERS)
    assert [str(n) for n in first.trust.networks] == [
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
    ]
    assert second.trust == first.trust
    assert (first.trust.inline, third.trust.inline) == (False, True)
    assert third.trust.guarded
    assert third.trust.snat
    assert [c.auth_key_file for c in (first, second, third)] == ["one", "one", "two"]


def test_self_is_a_list() -> None:
    options = Options(source=("tproxy",), own=("192.0.2.1", "192.0.2.2:80,[2001:db8::1]:443"))
    expected = (("192.0.2.1", None), ("192.0.2.2", 80), ("2001:db8::1", 443))
    assert [chosen.own for chosen in assign(options, LISTENERS)] == [expected] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(guarded=True), "--guarded is for source ctframe or proxy or proxy-v2, but here"),
        (Options(snat=True), "--snat is for"),
        (Options(auth_window=60), "--auth-window is for source proxy"),
        (Options(require_redirect=True), "--require-redirect is for source conntrack or tproxy"),
        (Options(own=("192.0.2.1",)), "--self is for source tproxy, but here is source none"),
        (
            Options(source=("fd://3=proxy",), auth_key_file=("fd://3=x", "y")),
            "--auth-key-file is for source proxy or proxy-v2, but here is source none",
        ),
        (
            Options(source=("fd://3=proxy",), trust=("unix:/run/a=b=inline",)),
            "but here is source n",
        ),
        (Options(source=("proxy",), trust=("inline,10.0.0.0/8",)), "exclude each other"),
        (Options(certfile=("a", "b")), "--certfile is given 2 times"),
        (Options(certfile=("fd://3=a",), keyfile=("b",)), "--keyfile b lacks its --certfile"),
        (Options(source=("fd://3=proxy",), certfile=("fd://3=a",)), "TLS needs source none, not p"),
        (Options(source=("fd://3=proxy",), certfile=("a",)), "TLS needs source none, not proxy"),
    ],
)
def test_nothing_is_dropped_in_silence(options: Options, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        assign(options, LISTENERS)


def test_the_environment() -> None:
    environ = {
        "CTWSGI_SOURCE": "proxy 'unix:/run/a b=ctframe'",
        "CTWSGI_TRUST": "10.0.0.0/8,192.0.2.0/24",
        "CTWSGI_GUARDED": "1",
        "CTWSGI_SNAT": "no",
        "CTWSGI_AUTH_KEY_FILE": "k",
        "CTWSGI_AUTH_WINDOW": "60",
        "CTWSGI_SELF": "192.0.2.1",
        "CTWSGI_REQUIRE_REDIRECT": "yes",
        "CTWSGI_ORIGIN_TIMEOUT": "1.5",
        "CTWSGI_REQUEST_TIMEOUT": "2",
        "CTWSGI_BODY_TIMEOUT": "0",
        "HOME": "/",
        "CTWSGI_SEED": "a variable of somebody else's",
        "CTWSGI_TEST_FULL": "",
    }
    assert from_settings(from_environ(environ)) == Options(
        source=("proxy", "unix:/run/a b=ctframe"),
        trust=("10.0.0.0/8,192.0.2.0/24",),
        guarded=True,
        auth_key_file=("k",),
        auth_window=60,
        own=("192.0.2.1",),
        require_redirect=True,
        origin_timeout=1.5,
        request_timeout=2.0,
        body_timeout=0.0,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CTWSGI_SOURCES", "proxy"),
        ("CTWSGI_KEY_FILE", "x"),
        ("CTWSGI_AUTHKEYFILE", "x"),
        ("CTWSGI_TRUSTED", "inline"),
        ("CTWSGI_source", "proxy"),
        ("CTWSGI_CERTFILE", "x"),
        ("CTWSGI_SNAT", "perhaps"),
        ("CTWSGI_AUTH_WINDOW", "1.5"),
        ("CTWSGI_AUTH_WINDOW", "-1"),
        ("CTWSGI_BODY_TIMEOUT", "inf"),
        ("CTWSGI_BODY_TIMEOUT", "nan"),
        ("CTWSGI_SOURCE", "'proxy"),
    ],
)
def test_a_wrong_variable_is_named(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key):
        from_environ({key: value})


class Sock:
    """The name of a listening socket, the only part of gunicorn's wrapper that is needed."""

    def __init__(self, name: object) -> None:
        self.name = name

    def getsockname(self) -> object:
        return self.name


@pytest.mark.parametrize(
    ("addresses", "inherited", "real", "names"),
    [
        ([A], 0, [], [{A}]),
        ([("localhost", 80)], 0, [A], [{A, ("localhost", 80)}]),
        ([3, 4], 0, [A, B], [{3, A}, {4, B}]),
        ([("127.0.0.1", 8000)], 2, [A, B], [{3, A}, {4, B}]),  # systemd's sockets replace --bind
        ([A, B], 0, [A], [{A}]),  # after USR2 from a master with fewer binds
        (["\0abstract"], 0, [b"\0abstract"], [{"\0abstract"}]),
        ([("::1", 80)], 0, [("::1", 80, 0, 0)], [{("::1", 80)}]),
    ],
)
def test_names_of_listeners(
    addresses: list[object], inherited: int, real: list[object], names: list[set[object]]
) -> None:
    assert names_of(addresses, inherited, [Sock(name) for name in real]) == names  # type: ignore[arg-type]


def test_descriptors_and_addresses_do_not_mix() -> None:
    with pytest.raises(ValueError, match=r"fd://3, 127\.0\.0\.1:80: fd:// does not mix"):
        names_of([3, A], 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [(A, "127.0.0.1:80"), (("::1", 80), "[::1]:80"), (B, "unix:/run/a=b"), (3, "fd://3")],
)
def test_names_are_shown_as_bind_spells_them(name: object, text: str) -> None:
    assert show_name(name) == text  # type: ignore[arg-type]


GUNICORNS = {s.name for s in gunicorn_config.KNOWN_SETTINGS if s.__module__ == "gunicorn.config"}


def test_every_setting_of_gunicorn_has_been_looked_at() -> None:
    listed = honoured.HONOURED | set(honoured.REFUSED)
    assert not honoured.HONOURED & set(honoured.REFUSED)
    assert listed >= GUNICORNS, "new in this gunicorn: decide, and add to docs/serve.md"


def config() -> Config:
    return Config([], "%(prog)s", "test")


@pytest.mark.parametrize("name", sorted(GUNICORNS & set(honoured.REFUSED)))
def test_a_refused_setting_is_named(name: str) -> None:
    cfg = config()
    honoured.refuse_unhonoured(cfg)  # the defaults are allowed
    cfg.settings[name].value = object()
    with pytest.raises(ValueError, match=f"{name}: "):
        honoured.refuse_unhonoured(cfg)


@pytest.mark.parametrize(
    "name", ["keepalive", "limit_request_line", "limit_request_fields", "worker_connections"]
)
def test_zero_means_something_else_in_gunicorn(name: str) -> None:
    cfg = config()
    cfg.set(name, 0)
    with pytest.raises(ValueError, match=f"{name} 0: "):
        honoured.refuse_unhonoured(cfg)


def test_a_setting_that_nobody_knows_is_refused() -> None:
    cfg = config()

    class Newcomer(gunicorn_config.Setting):
        name = "newcomer"
        validator = gunicorn_config.validate_string
        default = "x"
        desc = "Of a later gunicorn."

    gunicorn_config.KNOWN_SETTINGS.remove(Newcomer)
    Newcomer.__module__ = "gunicorn.config"
    cfg.settings["newcomer"] = Newcomer()
    honoured.refuse_unhonoured(cfg)
    cfg.set("newcomer", "y")
    with pytest.raises(ValueError, match="newcomer: ctwsgi does not know it"):
        honoured.refuse_unhonoured(cfg)


def test_the_manual_lists_every_setting_and_option() -> None:
    manual = (ROOT / "docs" / "serve.md").read_text()
    ours = {s.name for s in gunicorn_config.KNOWN_SETTINGS if s.__module__ == Config.__module__}
    missing = {name for name in GUNICORNS | ours if f"`{name}`" not in manual}
    assert not missing
    for name in ours - {"certfile", "keyfile"}:
        assert f"`CTWSGI_{name.upper()}`" in manual
