# SPDX-License-Identifier: MIT
"""Headers that other projects test with, and our own: see `source` and `differs` in the files.

In a vector `hex` is the input; the expected result is `header` and `rest`, `refused`, or
`incomplete`.
"""

from __future__ import annotations

from typing import Any

import pytest

from ctwsgi.errors import Reason
from ctwsgi.wire.proxy import Command, Header, Transport

from .support import VECTORS, load, outcome, outcome_in_pieces

FILES = sorted(path.name for path in VECTORS.glob("*.json") if path.name != "auth.json")
CASES = [
    pytest.param(vector, id=f"{name.removesuffix('.json')}: {vector['name']}")
    for name in FILES
    for vector in load(name)["vectors"]
]


def expected(vector: dict[str, Any]) -> Any:
    if "refused" in vector:
        return Reason(vector["refused"])
    if "incomplete" in vector:
        return None
    said = vector["header"]
    src, dst = (said[end] and tuple(said[end]) for end in ("src", "dst"))
    tlvs = tuple((kind, bytes.fromhex(value)) for kind, value in said["tlvs"])
    size = len(bytes.fromhex(vector["hex"])) - len(bytes.fromhex(vector["rest"]))
    return Header(said["version"], Command[said["command"]], src, dst, tlvs), size


@pytest.mark.parametrize("vector", CASES)
@pytest.mark.parametrize("kind", [bytes, bytearray, lambda raw: memoryview(bytearray(raw))])
def test_whole(vector: dict[str, Any], kind: Any) -> None:
    data = kind(bytes.fromhex(vector["hex"]))
    transport = Transport[vector.get("transport", "STREAM")]
    assert outcome(data, transport=transport) == expected(vector)


@pytest.mark.parametrize("vector", CASES)
def test_one_byte_per_segment(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    transport = Transport[vector.get("transport", "STREAM")]
    found, decided_at = outcome_in_pieces(data, range(len(data)), transport=transport)
    assert found == expected(vector)
    if isinstance(found, tuple):
        assert decided_at == found[1], "the header's last byte decides, none behind it is needed"


@pytest.mark.parametrize("name", FILES)
def test_every_file_names_its_source(name: str) -> None:
    source = load(name)["source"]
    assert source["repository"]
    assert source["licence"]
    assert load(name)["vectors"]
