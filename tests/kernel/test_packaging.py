# SPDX-License-Identifier: MIT
"""The module's packaging: DKMS, make install, the kernel's style checkers, the README's rules.

The real dkms builds for both kernels, from a copy of the sources, into folders of the test's own,
so that nothing is installed on this machine. A guest loads what it built. `make test-kernel` runs
all of these tests, `make test` only the one that needs nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ctwsgi import __version__
from tests.built import without_built

from . import boot
from .kernels import SERIES, Kernel, NotOfferedError, get
from .linuxsource import checkpatch
from .module import SOURCE, build

TOOLS = ("dkms", "pahole", "openssl")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="dkms and 9p want root"),
    pytest.mark.skipif(bool(boot.lacking()), reason="no QEMU"),
]


*EARLIER, NEWEST = SERIES


@pytest.fixture(params=[*(pytest.param(s, marks=pytest.mark.full) for s in EARLIER), NEWEST])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    try:
        return get(request.param)
    except NotOfferedError as error:
        pytest.skip(str(error))


@pytest.fixture
def kmod(tmp_path: Path) -> Path:
    """A copy of kmod/ without built files."""
    return shutil.copytree(SOURCE, tmp_path / "kmod", ignore=without_built)


def run(*command: str | Path, **environ: str) -> str:
    """Returns the command's output, and shows it when the command fails."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def modinfo(module: Path, field: str) -> list[str]:
    return run("modinfo", "-F", field, module).split("\n")[:-1]


def in_guest(kernel: Kernel, script: str) -> str:
    """Returns what the script printed in a guest; a failure shows the kernel's log as well."""
    printed: list[bytes] = []
    outcome = boot.run(
        kernel,
        f"set -e\n{script}",
        output=printed.append,
        machine=boot.Machine(limit=600),
    )
    text = b"".join(printed).decode(errors="replace")
    assert outcome.status == 0, f"{outcome.reason}\n{text}\n{outcome.log[-3000:]}"
    return text


def load(module: Path) -> str:
    """Shell words that load the module as modprobe would."""
    depends = modinfo(module, "depends")[0].replace(",", " ")
    return f"for d in {depends}; do modprobe $d; done; insmod {module}\n"


@pytest.mark.full
@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")
def test_dkms_builds_signs_and_removes(kernel: Kernel, kmod: Path, tmp_path: Path) -> None:
    sources, tree, installed = (tmp_path / name for name in ("src", "tree", "modules"))
    for folder in (sources, tree, installed / kernel.version):
        folder.mkdir(parents=True)
    dkms = (
        f"dkms --dkmstree {tree} --sourcetree {sources} --installtree {installed}"
        f" --kernelsourcedir {kernel.build} --no-depmod"
    )
    words = (f"KVER={kernel.version}", f"DKMS={dkms}", f"DKMS_SRC={sources}")
    # Otherwise dkms makes a key for Secure Boot in /var/lib/dkms.
    signing = {
        "mok_signing_key": str(tmp_path / "mok.key"),
        "mok_certificate": str(tmp_path / "mok.pub"),
        "sign_file": str(kernel.build / "scripts" / "sign-file"),
    }
    # The second time it replaces what is installed.
    for _ in range(2):
        run("make", "-C", kmod, "dkms-install", *words, **signing)
    [module] = installed.rglob("ctinject.ko*")
    assert module.parent == installed / kernel.version / "updates" / "dkms"
    assert modinfo(module, "vermagic")[0].split()[0] == kernel.version
    assert modinfo(module, "signer") == ["DKMS module signing key"]
    assert not list(sources.rglob("*.o")), "dkms was given what an earlier build had left"
    # dkms runs readelf on compressed modules, whose complaints come before the last line.
    status = run(*dkms.split(), "status").splitlines()[-1]
    assert re.fullmatch(rf"ctinject/\S+, {re.escape(kernel.version)}, \S+: installed", status)

    printed = in_guest(
        kernel,
        f"{load(module)}cat /proc/net/ctinject; rmmod ctinject; test ! -e /proc/net/ctinject",
    )
    assert re.search(r"^flows +0$", printed, re.MULTILINE)
    readme = (SOURCE / "README.md").read_text()
    named = [line.split()[0] for line in printed.splitlines()]
    named += [line.partition(":")[0] for line in modinfo(module, "parm")]
    assert [name for name in named if f"`{name}`" not in readme] == []

    run("make", "-C", kmod, "dkms-remove", *words)
    assert not list(installed.rglob("ctinject.ko*"))
    assert not list(sources.iterdir())
    assert run(*dkms.split(), "status") == ""


@pytest.mark.full
def test_make_install_and_uninstall(kernel: Kernel, kmod: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    folder = root / "lib" / "modules" / kernel.version
    folder.mkdir(parents=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (folder / name).touch()
    words = (f"KDIR={kernel.build}", f"INSTALL_MOD_PATH={root}")
    run("make", "-C", kmod, "install", *words)
    [module] = root.rglob("ctinject.ko*")
    assert module.parent == folder / "updates"
    assert f"updates/{module.name}:" in (folder / "modules.dep").read_text()
    # The kernel requests the module by these names when a rule names a helper.
    aliases = (folder / "modules.alias").read_text()
    for helper in ("ctframe", "ctproxy"):
        assert f"alias nfct-helper-{helper} ctinject" in aliases
    run("make", "-C", kmod, "uninstall", *words)
    assert not list(root.rglob("ctinject.ko*"))


def test_versions_agree() -> None:
    package = re.search(r'^PACKAGE_VERSION="(.+)"', (SOURCE / "ctinject/dkms.conf").read_text(), 8)
    assert package
    assert package[1] == __version__


@pytest.mark.full
def test_checkpatch(kmod: Path) -> None:
    try:
        script = checkpatch()
    except NotOfferedError as error:
        pytest.skip(str(error))
    run("make", "-C", kmod, "check", f"CHECKPATCH={script}")


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("sparse"), reason="needs sparse")
def test_sparse(kernel: Kernel, kmod: Path) -> None:
    run("make", "-C", kmod, "sparse", f"KDIR={kernel.build}")


def rules(language: str) -> list[str]:
    """The README's blocks of rules in `language`, in order."""
    text = (SOURCE / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def loaders() -> list[str]:
    """A shell command for each block of rules; iptables' in both its variants."""
    found = [f"nft -f - <<'RULES'\n{text}RULES\n" for text in rules("nft")]
    for text in rules("sh"):
        for form in ("nft", "legacy"):
            found += [re.sub(r"^(ip6?tables)\b", rf"\1-{form}", text, flags=re.MULTILINE)]
    return found


VISIT = """
import socket, sys
sys.path.insert(0, ".")
from ctwsgi.wire import proxy
for family, listen, destination in (
    (socket.AF_INET, "127.0.0.1", "198.18.7.9"),
    (socket.AF_INET6, "::1", "2001:db8::9"),
):
    with socket.create_server((listen, 8080), family=family) as listener:
        with socket.create_connection((destination, 80), timeout=60) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server, _ = listener.accept()
            data = b""
            while piece := server.recv(4096):
                data += piece
            header, size = proxy.decode(data, versions=(2,))
            assert header.dst == (destination, 80), header
            assert header.src == client.getsockname()[:2], header
            assert data[size:] == b"hello", data
"""
"""Visits an address that exists nowhere, over IPv4 and IPv6; the listener decodes the
destination."""


@pytest.mark.full
def test_rules_of_the_readme(kernel: Kernel) -> None:
    """Each block loads by itself, in a namespace of its own. A visit uses those for `lo`.

    The kernel loads the module on request, at the first block.
    """
    script = (
        "cat >/etc/modprobe.d/ctinject.conf <<'END'\n"
        "alias nfct-helper-ctproxy ctinject\n"
        f"install ctinject /sbin/insmod {build(kernel)}\n"
        "END\n"
    )
    used = 0
    for text in loaders():
        script += "unshare -n bash -e <<'BLOCK'\nip link set lo up\n" + text
        if "hook output" in text or "-A OUTPUT" in text:
            script += (
                "ip link add far type dummy\n"
                "ip addr add 10.9.9.9/24 dev far\nip addr add fd09::9/64 dev far nodad\n"
                "ip link set far up\n"
                "ip route add default dev far\nip -6 route add default dev far\n"
                f"/usr/bin/python3 -E -s - <<'VISIT'\n{VISIT}VISIT\n"
                "grep ctproxy_headers /proc/net/ctinject\n"
            )
            used += 1
        script += "BLOCK\n"
    assert used == 3, "one of nft, one of each iptables"
    # The helper does not exist. iptables refuses it; nft accepts it in an inet table.
    for form in ("nft", "legacy"):
        script += (
            f"if unshare -n ip6tables-{form} -t raw -A PREROUTING -p tcp --dport 80"
            " -j CT --helper ctframe 2>/dev/null; then exit 1; fi\n"
        )
    printed = in_guest(kernel, script)
    assert re.findall(r"^ctproxy_headers +(\d+)", printed, re.MULTILINE) == ["2"] * used
