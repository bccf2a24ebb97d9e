# SPDX-License-Identifier: MIT
"""What `ctwsgi check` says of the eBPF injector."""

from __future__ import annotations

import pytest

from ctwsgi.check.ebpf import check_ebpf
from ctwsgi.ebpf.host import pins


def ebpf(root, release="6.12.1"):
    return [(f.level.value, f.text) for f in check_ebpf(root, release)]


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


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("sys/kernel/realtime", "1\n"),
        ("proc/version", "Linux version 6.12.1 (a@b) #1 SMP PREEMPT_RT Debian 6.12.1-1\n"),
    ],
)
def test_a_real_time_kernel(tmp_path, file, text):
    described(tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    ((level, told),) = ebpf(tmp_path)
    assert (level, told.partition(":")[0]) == ("note", "the kernel is a real-time one (PREEMPT_RT)")
    assert "the kernel module" in told
    assert "relay" in told


def test_where_it_is_attached(tmp_path):
    described(tmp_path)
    folder = pins(1, tmp_path / "sys/fs/bpf")
    folder.mkdir(parents=True)
    ((level, text),) = ebpf(tmp_path)
    assert level == "ok"
    assert text.startswith("attached to lo:")
    folder.rename(folder.with_name("999999"))
    assert "a device that is gone (999999)" in ebpf(tmp_path)[0][1]


def test_one_line_tells_what_is_lacking_or_that_nothing_is(tmp_path):
    described(tmp_path)
    ((level, text),) = ebpf(tmp_path)
    assert level in ("ok", "note")
    assert "`ctwsgi gateway attach DEV`" in text if level == "ok" else text
