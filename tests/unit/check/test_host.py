# SPDX-License-Identifier: MIT
"""What `ctwsgi check` says of a host, which is given as files below a folder."""

from __future__ import annotations

import re

import pytest

from ctwsgi.check.finding import Level
from ctwsgi.check.host import (
    HINTS,
    check_conntrack,
    check_counters,
    check_keys,
    check_legacy,
    check_module,
)
from tests import ROOT

RELEASE = "6.12.117+deb12-amd64"
COUNTERS = "flows 3\nmemory 4096\nctproxy_headers 17\ndrop_mtu 0\n"


@pytest.fixture
def host(tmp_path):
    """Writes files of a host; `host("proc/modules")` makes an empty one."""

    def write(path, text=""):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return tmp_path

    write("proc/modules")
    return write


def module(root, wanted=False):
    return [(f.level.value, f.text) for f in check_module(root, RELEASE, wanted)]


def test_a_module_that_is_loaded(host):
    root = host("sys/module/ctinject/version", "0.1.0\n")
    (loaded, boot) = module(root)
    assert loaded == ("ok", "ctinject 0.1.0 is loaded")
    assert "after the next boot it is missing" in boot[1]
    host(f"lib/modules/{RELEASE}/updates/ctinject.ko.xz")
    assert module(root) == [loaded]


def test_a_module_that_a_rule_would_load(host):
    root = host(f"lib/modules/{RELEASE}/updates/dkms/ctinject.ko")
    ((level, text),) = module(root)
    assert level == "ok"
    assert text.endswith(
        "updates/dkms/ctinject.ko is installed; a rule that names a helper loads it"
    )


def test_a_module_that_is_missing_since_the_kernel_was_upgraded(host):
    root = host("lib/modules/6.12.90+deb12-amd64/updates/ctinject.ko")
    (finding,) = check_module(root, RELEASE, wanted=False)
    assert finding.level is Level.TODO
    assert "6.12.90+deb12-amd64, but not for the kernel that runs, 6.12.117" in finding.text
    assert "dkms-install" in finding.remedy


def test_no_module_is_something_to_do_only_if_it_is_wanted(host):
    root = host(f"lib/modules/{RELEASE}/kernel/other.ko")
    ((level, text),) = module(root)
    assert level == "note"
    assert "ctwsgi relay" in text
    (finding,) = check_module(root, RELEASE, wanted=True)
    assert finding.level is Level.TODO
    assert "make -C kmod install" in finding.remedy


@pytest.mark.parametrize("wanted", [False, True])
def test_kernels_that_load_none(host, wanted):
    root = host("proc/sys/kernel/modules_disabled", "1\n")
    level = "todo" if wanted else "note"
    assert module(root, wanted)[0][0] == level
    assert "modules_disabled" in module(root, wanted)[0][1]
    (root / "proc/modules").unlink()
    ((got, text),) = module(root, wanted)
    assert (got, text.partition(":")[0]) == (level, "this kernel is built without modules")


def test_conntrack(host, tmp_path):
    (finding,) = check_conntrack(tmp_path)
    assert finding.level is Level.NOTE
    host("proc/sys/net/netfilter/nf_conntrack_max", "1000\n")
    root = host("proc/sys/net/netfilter/nf_conntrack_count", "900\n")
    (finding,) = check_conntrack(root)
    assert (finding.level, finding.text) == (Level.OK, "900 of 1000 entries are in use")
    host("proc/sys/net/netfilter/nf_conntrack_count", "901\n")
    (finding,) = check_conntrack(root)
    assert finding.level is Level.TODO
    assert finding.remedy == "sysctl -w net.netfilter.nf_conntrack_max=2000"


def test_settings_matter_to_the_module_only(host):
    host("proc/sys/net/netfilter/nf_conntrack_max", "1000\n")
    host("proc/sys/net/netfilter/nf_conntrack_count", "1\n")
    host("proc/sys/net/netfilter/nf_conntrack_checksum", "0\n")
    root = host("proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "1\n")
    assert [f.level.value for f in check_conntrack(root)] == ["ok"]
    host("sys/module/ctinject/version", "0.1.0\n")
    assert [f.level.value for f in check_conntrack(root)] == ["ok", "todo", "note"]


def test_keys(host, tmp_path):
    assert check_keys(tmp_path).findings == ()
    assert check_keys(tmp_path).signed is None
    root = host("proc/net/ctinject_keys")
    assert check_keys(root).signed is False
    assert "only a guard" in check_keys(root).findings[0].text
    host("proc/net/ctinject_keys", "3\n7\n")
    keys = check_keys(root)
    assert keys.signed is True
    assert keys.findings[0].text == "headers are signed with key 3; also known: 7"


def test_tables_that_nft_does_not_list(host):
    root = host("proc/net/ip_tables_names")
    assert list(check_legacy(root)) == []
    host("proc/net/ip_tables_names", "mangle\n")
    host("proc/net/ip6_tables_names", "raw\nnat\n")
    assert [finding.text for finding in check_legacy(root)] == [
        "iptables-legacy has tables (mangle) that are not read here",
        "ip6tables-legacy has tables (raw nat) that are not read here",
    ]


def test_counters(host, tmp_path):
    assert list(check_counters(tmp_path)) == []
    root = host("proc/net/ctinject", COUNTERS)
    (finding,) = check_counters(root)
    assert (finding.level, finding.text) == (Level.OK, "flows 3, ctproxy_headers 17")
    more = "drop_no_syn 2\ndrop_memory 1\ndrop_of_tomorrow 9\nreplies_elsewhere 4\n"
    host("proc/net/ctinject", COUNTERS + more)
    host("proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1\n")
    _, no_syn, memory, unknown, elsewhere = (f.text for f in check_counters(root))
    assert no_syn.startswith("drop_no_syn 2: connections that were under way")
    assert "nf_conntrack_tcp_loose is on" in no_syn
    assert "max_memory" in memory
    assert unknown == "drop_of_tomorrow 9: see kmod/README.md"
    assert "check_device" in elsewhere


def test_every_reason_of_the_module_has_a_hint():
    source = (ROOT / "kmod/ctinject/stats.h").read_text()
    assert set(HINTS) == set(re.findall(r"\bSTAT_drop_(\w+)", source))
