# SPDX-License-Identifier: MIT
"""What `ctwsgi check` says of the eBPF injector where it is not attached.

tests/bpf/test_check.py has the gateways where it is.
"""

from __future__ import annotations

from ctwsgi.check.ebpf import check_ebpf
from ctwsgi.ebpf.host import pins


def ebpf(root, release="6.12.1"):
    return [(f.level.value, f.text) for f in check_ebpf(root, release).findings]


def described(root):
    types = root / "sys/kernel/btf/vmlinux"
    types.parent.mkdir(parents=True)
    types.touch()


def test_a_kernel_that_will_never_do(tmp_path):
    ((level, text),) = ebpf(tmp_path, "5.10.0-39-amd64")
    assert (level, text.partition(",")[0]) == ("note", "Linux 5.10.0-39-amd64 is too old")
    ((level, text),) = ebpf(tmp_path)
    assert level == "note"
    assert "CONFIG_DEBUG_INFO_BTF" in text
    described(tmp_path)
    lockdown = tmp_path / "sys/kernel/security/lockdown"
    lockdown.parent.mkdir(parents=True)
    lockdown.write_text("none integrity [confidentiality]\n")
    assert "locked down" in ebpf(tmp_path)[0][1]


def test_maps_that_no_program_uses(tmp_path):
    described(tmp_path)
    folder = pins(1, tmp_path / "sys/fs/bpf")
    folder.mkdir(parents=True)
    ((level, text),) = ebpf(tmp_path)
    assert (level, text.partition(":")[0]) == ("note", "lo")
    folder.rename(folder.with_name("999999"))
    ((level, text),) = ebpf(tmp_path)
    assert (level, text.partition(" has")[0]) == ("note", "a device that is gone (999999)")


def test_one_line_tells_what_is_lacking_or_that_nothing_is(tmp_path):
    described(tmp_path)
    ((level, text),) = ebpf(tmp_path)
    assert level in ("ok", "note")
    assert "`ctwsgi gateway attach DEV`" in text if level == "ok" else text
