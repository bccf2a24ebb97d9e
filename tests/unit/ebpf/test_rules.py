# SPDX-License-Identifier: MIT
"""What `ctwsgi gateway rules` prints. tests/bpf loads it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ctwsgi.ebpf.command import gateway


def printed(*words: str) -> str:
    outcome = CliRunner().invoke(gateway, ["rules", *words])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def test_one_table_for_both_ip_versions() -> None:
    """With two tables of one name, loading the second would delete the first."""
    text = printed("eth1", "--server", "10.0.0.5:8080", "--server", "[fd00::5]:81", "--port", "88")
    assert text.startswith(
        "# before these rules: "
        "ctwsgi gateway run eth1 --backend 10.0.0.5:8080 --backend [fd00::5]:81\n"
    )
    assert "meta nfproto ipv4 tcp dport { 88 } dnat ip to 10.0.0.5:8080\n" in text
    assert "meta nfproto ipv6 tcp dport { 88 } dnat ip6 to [fd00::5]:81\n" in text
    assert text.count("ct status ! dnat drop") == 2


def test_datagrams_go_to_the_same_server_and_have_their_guard() -> None:
    words = ("eth1", "--server", "10.0.0.5:53", "--server", "[fd00::5]:80", "--port", "53")
    text = printed(*words, "--udp", "53")
    assert " --backend [fd00::5]:80 --udp 53\n" in text
    assert "meta nfproto ipv4 tcp dport { 53 } dnat ip to 10.0.0.5:53\n" in text
    assert "meta nfproto ipv4 udp dport { 53 } dnat ip to 10.0.0.5:53\n" in text
    assert "ip daddr 10.0.0.5 udp dport 53 ct status ! dnat drop\n" in text
    assert 'ip daddr 10.0.0.5 udp dport 53 oifname != "eth1" drop\n' in text
    # The other server has another port.
    assert "ip6 daddr fd00::5 udp" not in text
    assert "ipv6 udp" not in text


def test_the_unit_names_the_device_as_systemd_does() -> None:
    text = printed("br-lan", "--server", "10.0.0.5:8080", "--unit")
    assert "BindsTo=sys-subsystem-net-devices-br\\x2dlan.device\n" in text
    assert " gateway run br-lan --backend 10.0.0.5:8080\n" in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("eth1", "--server", "example.org:80"), "--server example.org: not an IP address"),
        (("eth1", "--server", "10.0.0.5"), "not HOST:PORT"),
        (("eth1", "--server", "10.0.0.5:1", "--udp", "2"), "--udp 2: no server has this port"),
        (("eth1", "--server", "10.0.0.5:1", "--udp", "0"), "0 is not in the range"),
        (("eth1", "--server", "10.0.0.5:1", "--server", "10.0.0.6:1"), "do not balance"),
        (('e";drop', "--server", "10.0.0.5:80"), "is no name of a device"),
        (("eth1", "--server", "10.0.0.5:80", "--clients", "a b"), "is no name of a device"),
        (("eth1", "--server", "10.0.0.5:80", "--clients", "eth1"), "write rules of your own"),
    ],
)
def test_a_setup_without_clear_rules_is_refused(words: tuple[str, ...], reason: str) -> None:
    outcome = CliRunner().invoke(gateway, ["rules", *words])
    assert outcome.exit_code == 2
    assert reason in outcome.output
