# SPDX-License-Identifier: MIT
"""The end of the demo: a client walks through the captive portal, by curl.

Each step is a line of the demo, `ok portal STEP`, and each needs the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .legs import Mismatch
from .portal import INTERNET, PortalLab
from .wait import until

Step = tuple[str, Callable[[], None]]

_FIELD = re.compile(r'name="(token|to|lang)" value="([^"]*)"')


class Walk:
    """The client's state: the address of the splash page, and the page that it got last."""

    def __init__(self, portal: PortalLab) -> None:
        self._portal = portal
        self._splash = ""
        self._page = ""

    def steps(self) -> Iterator[Step]:
        """The steps, in their order."""
        nowhere = f"http://{INTERNET[4]}/"
        yield f"captive: {nowhere} leads to {self._portal.url}", self._captive
        yield f"splash page: it knows {INTERNET[4]}:80", self._read_splash
        yield "captive: https is refused at once, not intercepted", self._refused
        yield "accepted by a click", self._accept
        yield f"arrived at {nowhere}", self._arrive
        yield f"arrived at http://[{INTERNET[6]}]/, which nobody had to accept again", self._arrive6
        yield "logged out, and captive again", self._log_out

    def _captive(self) -> None:
        head = self._curl("--head", f"http://{INTERNET[4]}/")
        found = re.search(r"^location: (\S+)", head, re.IGNORECASE | re.MULTILINE)
        if not head.startswith("HTTP/1.1 302") or found is None:
            raise Mismatch(f"no redirect: {head!r}")
        if not found[1].startswith(f"{self._portal.url}/"):
            raise Mismatch(f"a redirect to {found[1]}")
        self._splash = found[1]

    def _read_splash(self) -> None:
        self._page = self._curl(self._splash)
        if f"{INTERNET[4]}:80" not in self._page:
            raise Mismatch(f"not on the page: {self._page[:200]!r}")

    def _refused(self) -> None:
        done = self._portal.lab.client.run(
            ["curl", "--silent", "--noproxy", "*", f"https://{INTERNET[4]}/"], check=False
        )
        if done.returncode != 7:  # CURLE_COULDNT_CONNECT: the reset came
            raise Mismatch(f"curl ended with {done.returncode}")

    def _accept(self) -> None:
        self._page = self._post("accept", method="click")
        if "/logout" not in self._page:
            raise Mismatch(f"no status page: {self._page[:200]!r}")

    def _arrive(self) -> None:
        until(lambda: self._portal.reaches_internet(4), "the internet")

    def _arrive6(self) -> None:
        until(lambda: self._portal.reaches_internet(6), "the internet")

    def _log_out(self) -> None:
        self._post("logout")
        until(lambda: not self._portal.reaches_internet(4), "captivity")
        self._captive()

    def _post(self, path: str, **fields: str) -> str:
        """Submits the page's first form for `path`; gives the page that the answer leads to."""
        forms = re.findall(r"<form.*?</form>", self._page, re.DOTALL)
        form = next((f for f in forms if f'action="/{path}"' in f), "")
        values = {**dict(_FIELD.findall(form)), **fields}
        data = [word for name, value in values.items() for word in ("--data", f"{name}={value}")]
        return self._curl("--location", *data, f"{self._portal.url}/{path}")

    def _curl(self, *words: str) -> str:
        command = ["curl", "--silent", "--show-error", "--globoff", "--noproxy", "*"]
        accept = ["--header", "Accept: text/html"]
        return self._portal.lab.client.run([*command, *accept, *words]).stdout
