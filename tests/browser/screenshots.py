# SPDX-License-Identifier: MIT
"""Takes the pictures of demo_app/docs/: the portal on a phone and on a desktop.

`python -m tests.browser.screenshots [DIRECTORY]`
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests import ROOT
from tests.lab import Lab
from tests.lab.portal import INTERNET, PortalLab

from .browser import browser

DOCS = ROOT / "demo_app" / "docs"
DESKTOP = {"viewport": {"width": 1000, "height": 640}}


def take(started: Browser, portal: PortalLab, folder: Path, phone: dict[str, object]) -> None:
    """The splash page on both, on the phone in both languages; the status page on the phone."""
    for name, options, locale in (
        ("portal-desktop", DESKTOP, "en-GB"),
        ("portal-phone-zh", phone, "zh-CN"),
        ("portal-phone", phone, "en-GB"),
    ):
        context = started.new_context(**options, locale=locale)
        page = context.new_page()
        page.goto(f"http://{INTERNET[4]}/")
        expect(page.locator("form").first).to_be_visible()
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        if name == "portal-phone":
            page.locator("form:has(input[value=click]) button").click()
            expect(page.locator("#continue")).to_be_visible()
            page.screenshot(path=folder / "portal-phone-online.png")
        context.close()


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else DOCS
    with sync_playwright() as playwright:
        # A small phone with a low resolution, so that the files stay small.
        phone = {**playwright.devices["iPhone SE (3rd gen)"], "device_scale_factor": 1.5}
        phone.pop("default_browser_type", None)
    with Lab() as lab:
        portal = PortalLab(lab, methods=("click", "voucher"))
        portal.start()
        with browser(lab) as started:
            take(started, portal, folder, phone)


if __name__ == "__main__":
    main(sys.argv[1:])
