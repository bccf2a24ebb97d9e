# SPDX-License-Identifier: MIT
"""What `ctwsgi check` says of rule sets: captured ones, in rulesets/.

Each NAME.nft was loaded in a guest whose kernel has the module, NAME.json is what nft 1.0.6 listed
there (`nft -f NAME.nft; nft -j list ruleset`). The first four are those of kmod/README.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ctwsgi.check.finding import Level
from ctwsgi.check.rules import check_rules
from tests import ROOT

CAPTURED = Path(__file__).parent / "rulesets"
OWN = {"10.0.0.1", "fd00::1", "127.0.0.1", "::1"}


def judge(name, signed=False, change=lambda entries: entries):
    """The findings for a captured ruleset; `change` gets its entries and returns others."""
    listing = json.loads((CAPTURED / f"{name}.json").read_text())
    listing["nftables"] = change(listing["nftables"])
    return list(check_rules(json.dumps(listing), signed, OWN.__contains__))


def told(findings):
    return [(finding.level.value, finding.text.partition(": ")[0]) for finding in findings]


def without(*chains):
    def change(entries):
        return [e for e in entries if e.get("rule", {}).get("chain") not in chains]

    return change


V4, V6 = "tcp over IPv4 to port 8080 of this host", "tcp over IPv6 to port 8080 of this host"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("local", [f"ctproxy, {V4}", f"ctproxy, {V6}"]),
        (
            "gateway",
            [
                "ctproxy, tcp over IPv4 to 10.0.0.5:8080",
                "ctproxy, tcp over IPv6 to [fd00::5]:8080",
            ],
        ),
        (
            "datagrams",
            [
                "ctproxy, udp over IPv4 to port 5353 of this host",
                "ctproxy, udp over IPv6 to port 5353 of this host",
            ],
        ),
        ("frames", [f"ctframe, {V4}"]),
    ],
)
def test_what_the_readme_recommends_is_right(name, wanted):
    assert told(judge(name)) == [("ok", text) for text in wanted]
    assert (CAPTURED / f"{name}.nft").read_text() in (ROOT / "kmod/README.md").read_text()


@pytest.mark.parametrize("name", ["local", "gateway", "datagrams", "frames"])
def test_without_its_guard_none_of_them_is(name):
    findings = judge(name, change=without("guard"))
    assert findings
    assert {finding.level for finding in findings} == {Level.TODO}
    assert all("ct status ! dnat drop" in finding.remedy for finding in findings)


def test_the_rule_that_is_missing():
    v4, v6 = judge("gateway", change=without("guard"))
    assert "no guard: who dials it directly writes his own origin" in v4.text
    assert v4.remedy == (
        "table inet ctwsgi_guard {\n"
        "    chain forward {\n"
        "        type filter hook forward priority filter; policy accept;\n"
        "        ip daddr 10.0.0.5 tcp dport 8080 ct status ! dnat drop\n"
        "        ip daddr 10.0.0.5 tcp dport 8080 ct state invalid,untracked drop\n"
        "    }\n"
        "}"
    )
    assert "ip6 daddr fd00::5 tcp dport 8080 ct status ! dnat drop" in v6.remedy
    assert str(v4).splitlines()[1] == "          table inet ctwsgi_guard {"


@pytest.mark.parametrize("name", ["local", "gateway", "datagrams", "frames"])
def test_a_guard_that_lets_through_what_conntrack_does_not_follow(name):
    """With `ct status ! dnat` alone an ACK of no connection passes, which may have a SYN cookie."""

    def one_line(entries):
        return [e for e in entries if '"untracked"' not in json.dumps(e)]

    findings = judge(name, change=one_line)
    assert findings
    for finding in findings:
        assert finding.level is Level.TODO
        assert "guarded, but not from what conntrack does not follow" in finding.text
        assert "ct state invalid,untracked drop" in finding.remedy
        assert "ct status" not in finding.remedy


def test_signed_headers_need_no_guard_but_frames_do():
    findings = judge("gateway", signed=True, change=without("guard"))
    assert {finding.level for finding in findings} == {Level.OK}
    assert all("--auth-key-file" in finding.text for finding in findings)
    (frames,) = judge("frames", signed=True, change=without("guard"))
    assert frames.level is Level.TODO


def test_ipv6_under_a_rule_of_ctframe():
    """A `ctframe` rule in an inet table selects no IPv6, but the redirect translates it."""
    v4, v6 = judge("frames-open")
    assert told([v4, v6]) == [("todo", f"ctframe, {V4}"), ("todo", f"ctframe, {V6}")]
    assert "not marked" in v6.text
    assert "tcp dport 8080 meta nfproto ipv6 drop" in v6.remedy


def test_ipv6_that_another_rule_marks_is_no_leak():
    def mark(entries):
        helper = {"family": "inet", "table": "origin", "name": "header"}
        select = next(e["rule"] for e in entries if e.get("rule", {}).get("chain") == "select")
        family = {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv6"}}
        second = {**select, "expr": [family, {"ct helper": "header"}]}
        return [
            *entries,
            {"ct helper": {**helper, "type": "ctproxy", "protocol": "tcp"}},
            {"rule": second},
        ]

    assert f"ctframe, {V6}" not in dict(told(judge("frames-open", change=mark))).values()


def test_only_what_a_rule_selects_is_looked_at():
    """A translation of another network is ignored; unselected IPv6 to a server is a finding."""
    v4, v6 = judge("header-open")
    assert v4.text.startswith("ctproxy, tcp over IPv4 to 10.0.0.5:8080: no guard")
    assert v6.text.startswith("ctproxy, tcp over IPv6 to [fd00::5]:8080: translated, but not mark")


def test_sets_ranges_and_maps():
    findings = told(judge("sets"))
    assert ("ok", "ctproxy, tcp over IPv4 to 10.0.0.5:8080") in findings
    assert ("ok", "ctframe, tcp over IPv4 to 10.0.0.5:8080") in findings
    assert ("todo", "ctproxy, tcp over IPv4 to ports 8000-8010 of this host") in findings


def test_a_guard_behind_an_accept_is_none_and_a_helper_before_conntrack_neither():
    early, open_ = judge("hole")
    assert early.text == "chain origin select runs before conntrack and gives nobody a helper"
    assert told([open_]) == [("todo", f"ctproxy, {V4}")]


def test_a_guard_with_conditions_is_none():
    assert told(judge("partial-guard")) == [("todo", f"ctframe, {V4}")]


def test_iptables_is_not_read_and_that_is_said():
    unread, none = judge("iptables")
    assert unread.text == (
        "iptables has rules in ip6 nat, ip6 raw that are not read: see `ip6tables-save`. It gives "
        "connections helpers: see kmod/README.md"
    )
    assert none.level is Level.NOTE


def test_older_versions_of_nft_do_not_name_what_they_cannot_show():
    def unnamed(entries):
        return json.loads(re.sub(r'"xt": \{[^}]*\}', '"xt": null', json.dumps(entries)))

    unread, _ = judge("iptables", change=unnamed)
    assert "ip6 nat, ip6 raw that are not read" in unread.text


def test_what_iptables_may_translate_is_told():
    """The rules of kmod/README.md select and guard, and iptables has a REDIRECT beside them."""
    listing = json.loads((CAPTURED / "iptables.json").read_text())["nftables"]
    findings = told(judge("gateway", change=lambda entries: [*entries, *listing[1:]]))
    assert ("note", "what gets ctproxy may be translated in a way not understood") in findings
    assert ("ok", "ctproxy, tcp over IPv6 to [fd00::5]:8080") in findings


def test_a_translation_that_is_not_understood_is_told():
    def map_address(entries):
        text = json.dumps(entries).replace('"addr": "10.0.0.5"', '"addr": {"map": {}}')
        return json.loads(text)

    findings = judge("gateway", change=map_address)
    assert ("note", "what gets ctproxy may be translated in a way not understood") in told(findings)
    assert ("ok", "ctproxy, tcp over IPv6 to [fd00::5]:8080") in told(findings)


def test_no_rules_at_all():
    (finding,) = judge("local", change=lambda entries: entries[:1])
    assert (finding.level, finding.text) == (
        Level.NOTE,
        "none gives a connection ctframe or ctproxy",
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nftables": [{"rule": {}}]}', "nft: no"])
def test_other_output_is_said_and_no_traceback(text):
    (finding,) = check_rules(text, False, OWN.__contains__)
    assert finding.level is Level.NOTE


def test_every_capture_has_its_source():
    captured = {path.stem for path in CAPTURED.glob("*.json")} - {"iptables"}
    assert captured == {path.stem for path in CAPTURED.glob("*.nft")}
    for path in CAPTURED.glob("*.nft"):
        rules = re.findall(
            r"^\s+(?!type|elements).*(?:drop|redirect|dnat|helper set)", path.read_text(), re.M
        )
        entries = json.loads(path.with_suffix(".json").read_text())["nftables"]
        assert len([e for e in entries if "rule" in e]) >= len(rules) > 0
