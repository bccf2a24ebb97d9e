# SPDX-License-Identifier: MIT
"""docs/api.md: its names are there, their signatures are as it prints them, its examples run.

An example with prompts is a doctest. One without is a program: it gets a process of its own,
because some of them patch the standard library.
"""

from __future__ import annotations

import doctest
import enum
import inspect
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

import ctwsgi
from tests import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
_STARS = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}
_HEADING = re.compile(r"^### `([\w.]+)`$", re.MULTILINE)
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SECTIONS = dict(zip(_HEADING.findall(PAGE), _HEADING.split(PAGE)[2::2], strict=True))
"""The text under each name's heading."""

UNCALLED = {
    "ctwsgi.Address": "a type",
    "ctwsgi.Reason": "an enumeration: how it is called differs between versions of Python",
    "ctwsgi.__version__": "a string",
    "ctwsgi.flask.origin": "a proxy",
    "ctwsgi.serving.accesslog.Logger": "gunicorn calls it",
    "ctwsgi.source.SOURCES": "a tuple",
    "ctwsgi.worker.CtWorker": "gunicorn calls it",
}
"""Names without a signature on the page, and why."""


def blocks(text: str, language: str) -> list[str]:
    """What the page has in fences of that kind."""
    return [body for name, body in _FENCED.findall(text) if name == language]


def find(name: str) -> Any:
    """The object of that dotted name: the longest part that is a module, then attributes."""
    words = name.split(".")
    for length in range(len(words), 0, -1):
        try:
            found = import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            found = getattr(found, word)
        return found
    raise AssertionError(f"no module of {name}")


def _default(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value) if "." in str(value) else f"{type(value).__name__}.{value.name}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _parameter(parameter: inspect.Parameter) -> str:
    stars = _STARS.get(parameter.kind.name, "")
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    default = parameter.default
    items = ", ".join(map(_default, default)) if isinstance(default, tuple) and default else None
    return f"{text} = {f'({items})' if items else _default(default)}"


def signature(name: str) -> str:
    """`name` with its parameters, as the page writes it but for line breaks."""
    found = inspect.signature(find(name))
    words: list[str] = []
    for parameter in found.parameters.values():
        star = parameter.kind is parameter.KEYWORD_ONLY and not any(
            w.startswith("*") for w in words
        )
        words += ["*", _parameter(parameter)] if star else [_parameter(parameter)]
    return f"{name}({', '.join(words)}) -> {found.return_annotation}"


@pytest.mark.parametrize("name", SECTIONS)
def test_a_name_and_its_signature(name: str) -> None:
    find(name)
    printed = [" ".join(block.split()) for block in blocks(SECTIONS[name], "signature")]
    assert printed == ([] if name in UNCALLED else [signature(name)])


@pytest.mark.parametrize("name", SECTIONS)
def test_the_examples(name: str) -> None:
    text = SECTIONS[name]
    sessions, programs = blocks(text, "pycon"), blocks(text, "python")
    assert sessions or programs or name == "ctwsgi.worker.CtWorker", "no example"
    for session in sessions:
        test = doctest.DocTestParser().get_doctest(session, {}, name, "docs/api.md", 0)
        said: list[str] = []
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
        assert "".join(said) == ""
    for program in programs:
        command = [sys.executable, "-W", "error::SyntaxWarning", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert done.returncode == 0, done.stderr


def test_every_public_name_is_on_the_page() -> None:
    assert {f"ctwsgi.{name}" for name in ctwsgi.__all__} - set(SECTIONS) == set()


def test_what_has_no_signature_is_on_the_page() -> None:
    assert set(UNCALLED) - set(SECTIONS) == set()


def test_the_signature_of_this_page_is_the_code_s() -> None:
    """The comparison above can fail: a default, a type and a name are in it."""
    assert signature("ctwsgi.wire.address.show") == (
        "ctwsgi.wire.address.show(host: str, port: int) -> str"
    )
    assert signature("ctwsgi.loops.LoopGuard").endswith("= ()) -> None")
