# SPDX-License-Identifier: MIT
"""The probes by which operating systems find out whether they are online, and the answers to them.

A probe is recognised by its host and path. These come from the client, and only choose one of the
fixed answers. The probe of a captive client gets the same redirect as a browser. The probe of an
accepted client, which the gateway has not let through yet, gets the answer of the real server, so
that the device does not ask its user again.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response


@dataclass(frozen=True)
class Probe:
    """The real server's answer, by which a device knows that it is online."""

    system: str
    status: int
    body: str
    mimetype: str = "text/plain"
    header: tuple[str, str] | None = None

    def online(self) -> Response:
        response = Response(self.body, self.status, mimetype=self.mimetype)
        if self.header:
            response.headers[self.header[0]] = self.header[1]
        if self.status == 204:
            del response.headers["Content-Type"]
        return response


_APPLE = Probe(
    "Apple",
    200,
    "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>",
    "text/html",
)
_ANDROID = Probe("Android", 204, "")
_FIREFOX_PAGE = Probe(
    "Firefox",
    200,
    '<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>',
    "text/html",
)
_NETWORK_MANAGER = Probe(
    "NetworkManager",
    200,
    "NetworkManager is online\n",
    header=("X-NetworkManager-Status", "online"),
)

PROBES = {
    ("captive.apple.com", "/hotspot-detect.html"): _APPLE,
    ("captive.apple.com", "/"): _APPLE,
    ("www.apple.com", "/library/test/success.html"): _APPLE,
    ("connectivitycheck.gstatic.com", "/generate_204"): _ANDROID,
    ("connectivitycheck.android.com", "/generate_204"): _ANDROID,
    ("clients3.google.com", "/generate_204"): _ANDROID,
    ("www.google.com", "/gen_204"): _ANDROID,
    ("www.google.com", "/generate_204"): _ANDROID,
    ("www.gstatic.com", "/generate_204"): _ANDROID,
    ("play.googleapis.com", "/generate_204"): _ANDROID,
    ("www.msftconnecttest.com", "/connecttest.txt"): Probe(
        "Windows", 200, "Microsoft Connect Test"
    ),
    ("ipv6.msftconnecttest.com", "/connecttest.txt"): Probe(
        "Windows", 200, "Microsoft Connect Test"
    ),
    ("www.msftncsi.com", "/ncsi.txt"): Probe("Windows", 200, "Microsoft NCSI"),
    ("detectportal.firefox.com", "/canonical.html"): _FIREFOX_PAGE,
    ("detectportal.firefox.com", "/success.txt"): Probe("Firefox", 200, "success\n"),
    ("nmcheck.gnome.org", "/check_network_status.txt"): _NETWORK_MANAGER,
    ("network-test.debian.org", "/nm"): _NETWORK_MANAGER,
    ("connectivity-check.ubuntu.com", "/"): Probe(
        "NetworkManager", 204, "", header=("X-NetworkManager-Status", "online")
    ),
    ("fedoraproject.org", "/static/hotspot.txt"): Probe("NetworkManager", 200, "OK\n"),
}
"""By host and path. demo_app/docs/portal.md has the same table with user agents."""

HOSTS = frozenset(host for host, _ in PROBES)

APPLE_AGENT = "CaptiveNetworkSupport"
"""The user agent with which Apple's devices probe many hosts, which change."""


def find(host: str, path: str, agent: str) -> Probe | None:
    """The probe of a request; None when the request is no probe."""
    name = host.lower().removesuffix(":80").rstrip(".")
    if probe := PROBES.get((name, path)):
        return probe
    return _APPLE if agent.startswith(APPLE_AGENT) else None
