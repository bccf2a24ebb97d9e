# SPDX-License-Identifier: MIT
"""A program that uses a lab and is told to end at a chosen wait.

    python -m tests.net.signalled SIGNAL EVENT POINT

EVENT is `call` or `return`: the signal is sent when the program enters or leaves
`ending.end_if_told` for the POINT-th time, that is, shortly before the wait looks for a signal, or
between this look and the poll. The last line of output says how often that happened.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
from types import FrameType

from tests.lab import Lab, draw_destination
from tests.lab.ending import end_if_told, end_in_order
from tests.lab.rules import redirect, tproxy


class Trigger:
    """A trace function that sends the signal."""

    def __init__(self, number: int, event: str, point: int) -> None:
        self._number, self._event, self._point = number, event, point
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> Trigger | None:
        if frame.f_code is not end_if_told.__code__:
            return None
        if event == self._event:
            self.count += 1
            if self.count == self._point:
                os.kill(os.getpid(), self._number)
        return self


def use_a_lab() -> None:
    """Waits in each way that the lab has, and never in a loop: the count hardly changes."""
    with (
        Lab(grace=5) as lab,
        lab.server.listen("0.0.0.0") as listener,
        lab.server.rules(redirect(listener.getsockname()[1])),
        lab.gateway.marked_delivery(),
        lab.gateway.rules(tproxy(9)),
    ):
        lab.server.popen(["sleep", "60"])
        lab.client.connect(draw_destination(4)).close()
        lab.client.socket(socket.AF_INET6).close()
        lab.gateway.run(["true"])


def main(number: int, event: str, point: int) -> None:
    end_in_order()
    trigger = Trigger(number, event, point)
    atexit.register(lambda: print(trigger.count))
    sys.settrace(trigger)
    use_a_lab()
    if trigger.count < point:
        # A command that ends before it is waited for saves a wait.
        os.kill(os.getpid(), number)
    end_if_told()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
