# SPDX-License-Identifier: MIT
"""The two wheels: what they install, under which licence, and that a build can be repeated."""

from __future__ import annotations

import shutil
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from ctwsgi.version import __version__
from tests import ROOT
from tests.wheels import build, copy_of_sources

PROGRAM = "ctwsgi/ebpf/ctproxy.bpf.o"

needs_clang = pytest.mark.skipif(
    not (shutil.which("clang") and shutil.which("llvm-strip") and shutil.which("make")),
    reason="no clang, llvm-strip or make: apt-get install clang llvm libbpf-dev make",
)


class Wheel:
    """The names in a wheel, its metadata, and its licence files."""

    def __init__(self, path: Path) -> None:
        with ZipFile(path) as wheel:
            self.names = set(wheel.namelist())
            (info,) = {name.split("/")[0] for name in self.names if ".dist-info/" in name}
            self.info = info
            licences = f"{info}/licenses/"
            self.licences = {
                name.removeprefix(licences): wheel.read(name).decode()
                for name in self.names
                if name.startswith(licences)
            }
            self.metadata: Message = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())

    @property
    def top(self) -> set[str]:
        return {name.split("/")[0] for name in self.names}

    def below(self, package: str) -> set[str]:
        return {name for name in self.names if name.startswith(f"{package}/")}


@pytest.fixture(scope="module")
def ctwsgi(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder = tmp_path_factory.mktemp("ctwsgi")
    return Wheel(build(copy_of_sources(folder / "source"), folder / "wheel"))


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    return Wheel(build(ROOT / "demo_app", tmp_path_factory.mktemp("portal")))


def _sources(folder: Path, package: str) -> set[str]:
    """The package's files in the source folder, without what Python and the build make."""
    files = (path for path in (folder / package).rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)) for path in files if "__pycache__" not in path.parts}
    return names - {PROGRAM}


def test_ctwsgi_holds_ctwsgi_only(ctwsgi: Wheel) -> None:
    assert ctwsgi.top == {"ctwsgi", f"ctwsgi-{__version__}.dist-info"}
    assert ctwsgi.below("ctwsgi") - {PROGRAM} == _sources(ROOT, "ctwsgi")
    assert "ctwsgi/py.typed" in ctwsgi.names


def test_ctwsgi_names_both_licences(ctwsgi: Wheel) -> None:
    assert ctwsgi.metadata["License-Expression"] == "MIT AND GPL-2.0-only"
    assert sorted(ctwsgi.metadata.get_all("License-File", [])) == ["LICENSE", "kmod/COPYING"]
    assert ctwsgi.licences == {
        name: (ROOT / name).read_text() for name in ("LICENSE", "kmod/COPYING")
    }
    assert PROGRAM in ctwsgi.licences["LICENSE"]


@needs_clang
def test_ctwsgi_has_the_ebpf_program(ctwsgi: Wheel) -> None:
    assert PROGRAM in ctwsgi.names


def test_portal_holds_ctwsgi_portal_only(portal: Wheel) -> None:
    assert portal.top == {"ctwsgi_portal", f"ctwsgi_portal-{__version__}.dist-info"}
    assert portal.below("ctwsgi_portal") == _sources(ROOT / "demo_app", "ctwsgi_portal")
    assert "ctwsgi_portal/py.typed" in portal.names


def test_portal_is_mit(portal: Wheel) -> None:
    assert portal.metadata["License-Expression"] == "MIT"
    assert portal.metadata.get_all("License-File") == ["LICENSE"]
    assert portal.licences == {"LICENSE": (ROOT / "demo_app/LICENSE").read_text()}


def test_portal_requires_the_ctwsgi_of_its_version(portal: Wheel, ctwsgi: Wheel) -> None:
    assert portal.metadata["Version"] == ctwsgi.metadata["Version"] == __version__
    assert f"ctwsgi=={__version__}" in portal.metadata.get_all("Requires-Dist", [])


SAYS = """
import sys
from pathlib import Path
from ctwsgi.check.ebpf import check_ebpf
for finding in check_ebpf(Path(sys.argv[1]), "6.12.1").findings:
    print(finding.text)
"""


def test_without_clang_check_says_how_to_get_the_program(tmp_path: Path) -> None:
    """pip hides what the build says, so that a user does not know that the program is missing."""
    wheel = build(copy_of_sources(tmp_path / "source"), tmp_path / "wheel", path="")
    with ZipFile(wheel) as files:
        assert PROGRAM not in files.namelist()
        files.extractall(tmp_path / "installed")
    types = tmp_path / "root/sys/kernel/btf/vmlinux"
    types.parent.mkdir(parents=True)
    types.write_bytes(b"\0BPF_FUNC_ktime_get_tai_ns\0")
    done = subprocess.run(
        [sys.executable, "-c", SAYS, str(tmp_path / "root")],
        cwd=tmp_path,  # not the checkout, which -c would import from
        env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "ctwsgi was installed without the eBPF program. In ctwsgi's source folder: "
        "apt-get install clang llvm libbpf-dev make libbpf1 && "
        f"{sys.executable} -m pip install --force-reinstall --no-deps .\n"
    )


@needs_clang
def test_the_same_bytes_in_another_folder(tmp_path: Path) -> None:
    wheels = [
        build(copy_of_sources(tmp_path / folder / "source"), tmp_path / folder / "wheel")
        for folder in ("one", "another/and/deeper")
    ]
    assert wheels[0].name == wheels[1].name
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
