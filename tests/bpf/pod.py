# SPDX-License-Identifier: MIT
"""What a pod of tests/bpf/cluster.py answers: its name, and whom it believes to talk to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    keys = {"src": "ct.orig_src", "dst": "ct.orig_dst", "verified": "ct.verified"}
    facts = {name: environ[key] for name, key in keys.items()}
    return [json.dumps({"pod": os.environ["POD"], **facts}).encode()]
