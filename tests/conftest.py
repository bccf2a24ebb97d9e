# SPDX-License-Identifier: MIT
"""Settings for every test: what `make test-full` adds, and a SIGINT that arrives.

`make test-full` sets CTWSGI_TEST_FULL=1: properties get many more examples, and tests marked `full`
are run. Elsewhere these are left out, unless they are named one by one (FILE::TEST).

A shell that starts this process in the background, as in `.ci/run &`, has it ignore SIGINT, and its
children inherit that. Tests that send SIGINT to their children need the default handler.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# No limits on time, because the machine may be busy.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", settings.get_profile("ours"), max_examples=5000)
settings.load_profile("full" if os.environ.get("CTWSGI_TEST_FULL") else "ours")

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects tests marked `full`."""
    if os.environ.get("CTWSGI_TEST_FULL"):
        return
    named = [word for word in config.args if "::" in word]
    left_out = [
        item
        for item in items
        if item.get_closest_marker("full") and not any(item.nodeid.startswith(n) for n in named)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
