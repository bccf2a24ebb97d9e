# SPDX-License-Identifier: MIT
"""The deliberate mistakes of the kernel code: each patch still applies to the source."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests import ROOT
from tests.bpf import mistakes as bpf
from tests.kernel import mistakes as kernel
from tests.mistakes import PatchError, numbered, patched

SOURCES = {
    bpf.PATCHES: bpf.SOURCE,
    kernel.PATCHES: kernel.SOURCE,
}
"""Folders of patches, and the folder that each patches."""

PATCHES = [
    pytest.param(source, patch, id=str(patch.relative_to(ROOT)))
    for folder, source in SOURCES.items()
    for patch in numbered(folder).values()
]

PATCH = """\
--- a/code.c
+++ b/code.c
@@ -1,3 +1,3 @@
 one
-two
+2
 three
"""


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    path = tmp_path / "1.patch"
    path.write_text(PATCH)
    return path


def _source(folder: Path, text: str) -> Path:
    source = folder / "source"
    source.mkdir()
    (source / "code.c").write_text(text)
    return source


@pytest.mark.parametrize(("source", "patch"), PATCHES)
def test_applies(source: Path, patch: Path, tmp_path: Path) -> None:
    patched(source, patch, tmp_path / "copy")


def test_each_is_numbered_and_has_its_cases() -> None:
    assert list(numbered(bpf.PATCHES)) == sorted(bpf.CASES)
    assert list(numbered(kernel.PATCHES)) == sorted(kernel.PARTS)


def test_the_copy_alone_is_changed(tmp_path: Path, patch: Path) -> None:
    source = _source(tmp_path, "one\ntwo\nthree\n")
    (source / "code.o").write_text("built")
    copy = patched(source, patch, tmp_path / "copy")
    assert (copy / "code.c").read_text() == "one\n2\nthree\n"
    assert (source / "code.c").read_text() == "one\ntwo\nthree\n"
    assert not (copy / "code.o").exists()


def test_a_former_copy_is_replaced(tmp_path: Path, patch: Path) -> None:
    source = _source(tmp_path, "one\ntwo\nthree\n")
    patched(source, patch, tmp_path / "copy")
    copy = patched(source, patch, tmp_path / "copy")
    assert (copy / "code.c").read_text() == "one\n2\nthree\n"


def test_inside_of_a_repository(patch: Path) -> None:
    """A copy in build/, as the suites make it: git must not look at the repository around it."""
    (ROOT / "build").mkdir(exist_ok=True)
    with TemporaryDirectory(dir=ROOT / "build") as name:
        folder = Path(name)
        copy = patched(_source(folder, "one\ntwo\nthree\n"), patch, folder / "copy")
        assert (copy / "code.c").read_text() == "one\n2\nthree\n"


def test_another_context_is_refused(tmp_path: Path, patch: Path) -> None:
    source = _source(tmp_path, "one\ntwo\nthird\n")
    with pytest.raises(PatchError, match=r"1\.patch no longer applies to .*source"):
        patched(source, patch, tmp_path / "copy")


def test_an_empty_patch_is_refused(tmp_path: Path, patch: Path) -> None:
    patch.write_text("")
    with pytest.raises(PatchError):
        patched(_source(tmp_path, "one\ntwo\nthree\n"), patch, tmp_path / "copy")
