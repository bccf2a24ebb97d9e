# SPDX-License-Identifier: MIT
"""`make test-full` asks each property for many more examples.

Who starts us in the background, as `.ci/run &` in a script does, has SIGINT ignored, and so have
all that descend from us. Tests that send it to theirs need what a terminal would give them.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# A processor that is busy elsewhere says nothing about an example: no deadline for each.
settings.register_profile("ours", deadline=None)
settings.register_profile(
    "full", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("full" if os.environ.get("CTWSGI_TEST_FULL") else "ours")

signal.signal(signal.SIGINT, signal.default_int_handler)
