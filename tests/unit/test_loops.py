# SPDX-License-Identifier: MIT
"""Which addresses LoopGuard takes for this host."""

from __future__ import annotations

import pytest

from ctwsgi.loops import LoopGuard, parse_self

GOOD = [
    ("198.51.100.1", ("198.51.100.1", None)),
    ("198.51.100.1:80", ("198.51.100.1", 80)),
    ("2001:db8::1", ("2001:db8::1", None)),
    ("[2001:db8::1]", ("2001:db8::1", None)),
    ("[2001:DB8:0::1]:443", ("2001:db8::1", 443)),
    ("::ffff:198.51.100.1", ("198.51.100.1", None)),
]
BAD = [
    "",
    "gateway",
    "198.51.100.1:",
    "198.51.100.1:0",
    "198.51.100.1:65536",
    "198.51.100:80",
    "[::1]80",
    "[::1",
]


@pytest.mark.parametrize(("text", "parsed"), GOOD)
def test_words_of_self(text, parsed):
    assert parse_self(text) == parsed


@pytest.mark.parametrize("text", BAD)
def test_wrong_words_of_self(text):
    with pytest.raises(ValueError, match="neither ADDR nor ADDR:PORT"):
        parse_self(text)


def test_guard():
    guard = LoopGuard([("198.51.100.1", None), ("198.51.100.2", 80)])
    assert guard.refuses(("198.51.100.1", 1234))
    assert guard.refuses(("198.51.100.2", 80))
    assert not guard.refuses(("198.51.100.2", 81))
    assert guard.refuses(("127.0.0.1", 80))
    assert guard.refuses(("::1", 80))
    assert guard.refuses(("0.0.0.0", 80))
    assert not guard.refuses(("198.18.0.1", 80))
