# SPDX-License-Identifier: MIT
"""What `ctwsgi check` says of the eBPF program's servers, with the rule sets of rulesets/.

tests/bpf/test_check.py has the same with a program that is attached.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ctwsgi.check.program import Program
from ctwsgi.check.rules import check_rules
from ctwsgi.ebpf.structs import Selection, Settings

CAPTURED = Path(__file__).parent / "rulesets"
SERVERS = (("10.0.0.5", 8080), ("fd00::5", 8080))
V4 = "eBPF on eth1, tcp over IPv4 to 10.0.0.5:8080"
V6 = "eBPF on eth1, tcp over IPv6 to [fd00::5]:8080"


def judge(program, name="gateway", change=lambda rules: rules):
    """Level and beginning of the findings about the program; `change` gets the listed rules."""
    listing = json.loads((CAPTURED / f"{name}.json").read_text())["nftables"]
    rules = change([entry["rule"] for entry in listing if "rule" in entry])
    others = [entry for entry in listing if "rule" not in entry]
    text = json.dumps({"nftables": [*others, *({"rule": rule} for rule in rules)]})
    findings = check_rules(text, None, {"10.0.0.1", "fd00::1"}.__contains__, [program])
    return [
        (finding.level.value, *finding.text.split(": ", 2)[:2])
        for finding in findings
        if "eBPF on eth1" in finding.text
    ]


def backends(*servers, **settings):
    return Program("eth1", Settings(selection=Selection.BACKENDS, **settings), servers)


def marked(mark=0x61, mask=0xFF):
    return Program("eth1", Settings(selection=Selection.MARK, mark=mark, mask=mask))


def open_(rules):
    """The rules without the guard."""
    return [rule for rule in rules if rule["chain"] != "guard"]


def setting(value, *conditions):
    """Adds a rule that sets the mark to open_(rules)."""

    def change(rules):
        mangle = {"mangle": {"key": {"ct": {"key": "mark"}}, "value": value}}
        select = next(rule for rule in rules if rule["chain"] == "select")
        return [*open_(rules), {**select, "expr": [*conditions, mangle]}]

    return change


def nfproto(family):
    return {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": family}}


def dport(protocol, port):
    left = {"payload": {"protocol": protocol, "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": port}}


BOTH_OPEN = [("todo", V4, "no guard"), ("todo", V6, "no guard")]


def test_each_server_has_its_guard_or_not():
    assert judge(backends(*SERVERS)) == [("ok", V4, "guarded"), ("ok", V6, "guarded")]
    assert judge(backends(*SERVERS), change=open_) == BOTH_OPEN

    def of_ipv4(rules):
        return [r for r in rules if r["chain"] != "guard" or "fd00::5" not in json.dumps(r)]

    assert judge(backends(*SERVERS), change=of_ipv4) == [
        ("ok", V4, "guarded"),
        ("todo", V6, "no guard"),
    ]


def test_a_server_that_no_rule_translates_to_can_be_dialled_all_the_same():
    ((level, server, what),) = judge(backends(("10.0.0.6", 81)))
    assert (level, what) == ("todo", "no guard")
    assert server.endswith("to 10.0.0.6:81")


def test_signed():
    found = judge(backends(*SERVERS, signed=True), change=open_)
    assert [level for level, _, _ in found] == ["ok", "ok"]


def test_the_ip_version_that_has_no_backend():
    ((_, _, guard), (level, server, what)) = judge(backends(SERVERS[0]), change=open_)
    assert guard == "no guard"
    assert (level, server) == ("todo", V6)
    assert what.startswith("translated, but not marked")


def with_udp(rules):
    """Each rule of TCP also for UDP."""
    return [*rules, *(json.loads(json.dumps(rule).replace('"tcp"', '"udp"')) for rule in rules)]


def for_udp(found):
    return [(level, server.replace("tcp", "udp"), what) for level, server, what in found]


def test_datagrams_need_a_guard_of_their_own():
    """The guard of TCP does not stop them."""
    guarded = [("ok", V4, "guarded"), ("ok", V6, "guarded")]
    for program in (backends(*SERVERS), marked(), Program("eth1", Settings())):
        with_ports = replace(program, udp_ports=(8080,))
        found = judge(with_ports, change=lambda rules: with_udp(open_(rules)) + rules)
        assert found == guarded + for_udp(BOTH_OPEN)
        assert judge(with_ports, change=with_udp) == guarded + for_udp(guarded)


def test_datagrams_to_other_ports_are_none_of_the_programs():
    program = replace(backends(*SERVERS, ("10.0.0.5", 53)), udp_ports=(53,))
    ((_, server, what),) = judge(program, change=with_udp)[3:]
    assert (server, what) == (V4.replace("tcp", "udp").replace("8080", "53"), "no guard")
    everything = Program("eth1", Settings(), udp_ports=(53,))
    ((level, text, _),) = judge(everything, change=with_udp)[2:]
    assert level == "note"
    assert text.endswith("may be translated in a way not understood")


def test_an_ip_version_of_datagrams_that_has_no_backend():
    program = replace(backends(SERVERS[0]), udp_ports=(8080,))
    found = judge(program, change=lambda rules: with_udp(open_(rules)))
    assert found[2:] == for_udp(found[:2])
    assert [server for _, server, _ in found[:2]] == [V4, V6]


def test_all_that_is_translated():
    everything = Program("eth1", Settings())
    assert judge(everything, change=open_) == BOTH_OPEN
    # A redirect to this host is none of the program's.
    ((level, text, advice),) = judge(everything, "local")
    assert level == "note"
    assert text.endswith("may be translated in a way not understood")
    assert advice == "guard it, or sign"


def test_a_mark():
    """The rules that set it tell what is selected; without any it may be everything."""
    assert judge(marked(), change=open_) == BOTH_OPEN
    assert judge(marked(), change=setting(0x61)) == BOTH_OPEN
    assert judge(marked(), change=setting({"|": [{"ct": {"key": "mark"}}, 1]})) == BOTH_OPEN
    v4, v6 = judge(marked(0x1, 0xF), change=setting(0x61, nfproto("ipv4")))
    assert v4 == BOTH_OPEN[0]
    assert v6[2].startswith("translated, but not marked")


def test_a_mark_for_other_connections():
    """Nothing that is translated gets it."""
    for change in (setting(0x61, dport("tcp", 22)), setting(0x61, dport("udp", 80))):
        ((level, text, _),) = judge(marked(), change=change)
        assert level == "note"
        assert "in a way not understood" in text
    # Another mark is not the one that selects: nothing tells what is selected.
    assert judge(marked(), change=setting(0x62)) == BOTH_OPEN
