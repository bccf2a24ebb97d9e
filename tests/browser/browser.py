# SPDX-License-Identifier: MIT
"""Debian's Chromium in the lab's client, driven by Playwright over a pipe.

Only Chromium itself is in the client's namespace. It has the client's addresses and routes, and
reaches everything through the gateway.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.lab import Lab
from tests.lab.wait import DEADLINE

CHROMIUM = "/usr/bin/chromium"

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # The tests open http pages, and Chromium must not change them to https.
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
)


def missing() -> str | None:
    """What is missing, in one line."""
    if not shutil.which(CHROMIUM):
        return "no Chromium: apt-get install chromium"
    return None


@contextmanager
def browser(lab: Lab) -> Iterator[Browser]:
    """Chromium with a fresh profile, on the lab's client."""
    wrapper = lab.scratch / "chromium"
    command = shlex.join(lab.client.argv([CHROMIUM]))
    wrapper.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    wrapper.chmod(0o755)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(wrapper), args=list(FLAGS), timeout=1000 * DEADLINE
        )
        try:
            yield started
        finally:
            started.close()
