# SPDX-License-Identifier: MIT
"""Who may write an origin, and which listeners refuse to start."""

from __future__ import annotations

import pytest

from ctwsgi.errors import OriginError, Reason
from ctwsgi.guard import local_guard
from ctwsgi.source import SOURCES, make_source
from ctwsgi.trust import Trust, UnsafeListener
from ctwsgi.wire.auth import KeyRing
from ctwsgi.wire.header import Command, Header

LOOPBACK = [("127.0.0.1", 80), ("127.9.9.9", 80), ("::1", 80, 0, 0), "/run/app.sock", ""]
OPEN = [("0.0.0.0", 80), ("::", 80, 0, 0), ("192.0.2.1", 80), ("::ffff:192.0.2.1", 80, 0, 0)]
KEYS = KeyRing.parse("1 " + "00" * 16)


@pytest.mark.parametrize("sockname", LOOPBACK)
@pytest.mark.parametrize("source", ["ctframe", "proxy", "proxy-v2"])
def test_loopback_is_trusted_by_default(source, sockname):
    make_source(source).check(sockname)


@pytest.mark.parametrize("sockname", OPEN)
@pytest.mark.parametrize("source", ["ctframe", "proxy", "proxy-v2"])
def test_an_open_listener_refuses_to_start(source, sockname):
    with pytest.raises(UnsafeListener) as e:
        make_source(source, keys=KEYS).check(sockname)
    assert "--trust" in str(e.value)
    assert local_guard(80) in str(e.value)


# Does (source, trust words, guarded, keys) start on an address that others can reach?
INLINE = [
    ("ctframe", ["10.0.0.0/8"], False, None, True),
    ("proxy", ["10.0.0.0/8"], False, None, True),
    ("ctframe", ["inline"], True, None, True),
    ("proxy", ["inline"], True, None, True),
    ("proxy", ["inline"], False, KEYS, True),
    ("proxy-v2", ["inline"], False, KEYS, True),
    ("proxy", ["inline"], False, None, False),
    ("ctframe", ["inline"], False, None, False),
    ("ctframe", ["inline"], False, KEYS, False),  # frames cannot be signed
]
EVERYBODY = [
    ("0.0.0.0/0", None, False),
    ("0.0.0.0/1,128.0.0.0/1", None, False),
    ("::/0", None, False),
    ("::/0", KEYS, True),
]


@pytest.mark.parametrize(("source", "words", "guarded", "keys", "starts"), INLINE)
@pytest.mark.parametrize("sockname", [OPEN[0], LOOPBACK[0]])
def test_stated_trust(source, words, guarded, keys, starts, sockname):
    made = make_source(source, trust=Trust.parse(words, guarded=guarded), keys=keys)
    if starts:
        made.check(sockname)
    else:
        with pytest.raises(UnsafeListener, match="inline needs"):
            made.check(sockname)


@pytest.mark.parametrize(("network", "keys", "starts"), EVERYBODY)
def test_trusting_everybody_needs_a_key(network, keys, starts):
    made = make_source("proxy", trust=Trust.parse([network]), keys=keys)
    made.check(LOOPBACK[0])
    if starts:
        made.check(OPEN[0])
    else:
        with pytest.raises(UnsafeListener):
            made.check(OPEN[0])


def test_a_unix_socket_has_no_guard_to_print():
    with pytest.raises(UnsafeListener, match="no packet filter guards a unix socket"):
        make_source("proxy", trust=Trust.parse(["inline"])).check("/run/app.sock")


def test_mapped_networks_mean_ipv4():
    Trust.parse(["::ffff:192.0.2.0/120"]).admit(("192.0.2.9", 1))


@pytest.mark.parametrize("source", ["conntrack", "tproxy"])
def test_kernel_sources_need_tcp(source):
    make_source(source).check(("0.0.0.0", 80))
    with pytest.raises(ValueError, match="unix socket has no NAT"):
        make_source(source).check("/run/app.sock")


ADMITTED = [
    ([], ("127.0.0.1", 1), True),
    ([], ("::1", 1), True),
    ([], ("192.0.2.1", 1), False),
    ([], None, True),
    (["192.0.2.0/24", "2001:db8::/32"], ("192.0.2.9", 1), True),
    (["192.0.2.0/24,2001:db8::/32"], ("2001:db8::9", 1), True),
    (["192.0.2.0/24"], ("127.0.0.1", 1), False),
    (["inline"], ("203.0.113.5", 1), True),
]


@pytest.mark.parametrize(("words", "peer", "admitted"), ADMITTED)
def test_admission(words, peer, admitted):
    trust = Trust.parse(words)
    if admitted:
        trust.admit(peer)
    else:
        with pytest.raises(OriginError) as e:
            trust.admit(peer)
        assert e.value.reason is Reason.UNTRUSTED_PEER


CLIENT, OTHER = ("192.0.2.7", 4000), ("192.0.2.7", 4001)


STRANGER = ("192.0.2.8", 4000)
SIGNED = {"auth": 7}


@pytest.mark.parametrize(
    ("words", "snat", "src", "signature", "fits"),
    [
        (["inline"], False, CLIENT, {}, True),
        (["inline"], False, OTHER, {}, True),  # conntrack may have changed the port
        (["inline"], False, STRANGER, {}, False),
        (["inline"], False, None, {}, True),
        (["inline"], True, STRANGER, {}, True),
        (["192.0.2.0/24"], False, STRANGER, {}, True),
        (["inline"], False, CLIENT, SIGNED, True),
        (["inline"], False, OTHER, SIGNED, False),
        (["inline"], False, STRANGER, SIGNED, False),
        (["inline"], False, OTHER, SIGNED | {"translated": CLIENT}, True),
        (["inline"], False, STRANGER, SIGNED | {"translated": CLIENT}, True),
        (["inline"], False, CLIENT, SIGNED | {"translated": OTHER}, False),
        (["inline"], True, STRANGER, SIGNED, True),
    ],
)
def test_source_address_of_an_inline_header(words, snat, src, signature, fits):
    trust = Trust.parse(words, snat=snat)
    header = Header(2, Command.PROXY, src, None, **signature)
    if fits:
        trust.match_source(header, CLIENT)
    else:
        with pytest.raises(OriginError) as e:
            trust.match_source(header, CLIENT)
        assert e.value.reason is Reason.SRC_MISMATCH


def test_a_header_does_not_fit_a_peer_without_an_address():
    header = Header(2, Command.PROXY, CLIENT, None)
    with pytest.raises(OriginError):
        Trust.parse(["inline"]).match_source(header, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["10.0.0.1/8"], "host bits"),
        (["gateway"], "gateway"),
        (["inline", "10.0.0.0/8"], "exclude each other"),
    ],
)
def test_wrong_words(words, message):
    with pytest.raises(ValueError, match=message):
        Trust.parse(words)


def test_unknown_source():
    with pytest.raises(ValueError, match=", ".join(SOURCES)):
        make_source("guess")
