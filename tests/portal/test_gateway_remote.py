# SPDX-License-Identifier: MIT
"""The portal on another machine than the gateway, with Redis: the whole way of a client by curl.

One case has the relay on the gateway, the other the kernel module, which few machines can load.
tests/kernel/test_skipped_elsewhere.py runs the second in a guest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.module import why_no_module
from tests.lab.portal import PortalLab
from tests.lab.portal_demo import Walk
from tests.lab.requirements import unavailable
from tests.lab.wait import until

from .stores import RedisServer, Unavailable

MAC = "02:00:00:00:01:01"
"""The client's. Only the gateway's agent can see it; it reports it to the portal."""

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=str(unavailable()))


@pytest.fixture(params=["relay", "module"])
def portal(request: pytest.FixtureRequest) -> Iterator[PortalLab]:
    helper = "ctproxy" if request.param == "module" else ""
    if helper and (why := why_no_module()):
        pytest.skip(why)
    with Lab() as lab:
        try:
            with RedisServer(lab.scratch / "redis") as server:
                made = PortalLab(lab, remote=True, helper=helper, store=server.url)
                made.start()
                yield made
        except Unavailable as e:
            pytest.skip(str(e))


def test_the_whole_way(portal: PortalLab) -> None:
    for title, run in Walk(portal).steps():
        run()
        if title.startswith("accepted"):
            until(lambda: MAC in portal.run("sessions", "list"), "the agent's report of the MAC")
    assert MAC in portal.run("sessions", "list", "--ended", "1")
