# SPDX-License-Identifier: MIT
"""What operating systems ask to find out whether they are online, and the answers they hope for.

A probe is known by the host and path that it asks for: the client's word, used for nothing but to
choose among these fixed answers. A captive client's probe gets the redirect of every browser; that
of a client which has been accepted, and which the gateway is about to let through, gets the very
answer of the real server, so that the device does not ask its user again.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response


@dataclass(frozen=True)
class Probe:
    """The answer that means: online."""

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
"""By host and path; demo_app/docs/portal.md has the same table with user agents."""

HOSTS = frozenset(host for host, _ in PROBES)

APPLE_AGENT = "CaptiveNetworkSupport"
"""Apple asks many hosts, which change, under this name."""


def find(host: str, path: str, agent: str) -> Probe | None:
    """The probe that this request is; None for an ordinary one."""
    name = host.lower().removesuffix(":80").rstrip(".")
    if probe := PROBES.get((name, path)):
        return probe
    return _APPLE if agent.startswith(APPLE_AGENT) else None
