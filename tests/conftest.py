"""`make test-full` asks each property for many more examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("full", max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
if os.environ.get("CTWSGI_TEST_FULL"):
    settings.load_profile("full")
