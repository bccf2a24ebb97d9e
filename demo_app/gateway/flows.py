"""Ends the flows of clients that are no longer granted, in conntrack.

The packet filter cuts them by itself: it looks at every packet. What this adds is that nothing
remembers them: translations are decided anew, and the table does not fill with the dead.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Flows:
    """A thread of its own, because each call walks the whole table of connections."""

    def __init__(self) -> None:
        self._tool = shutil.which("conntrack", path=_PATH)
        self._addresses: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
        self._thread.start()

    @property
    def available(self) -> bool:
        """Whether the tool is there."""
        return self._tool is not None

    def cut(self, address: str) -> None:
        """Soon, every flow that this address began is forgotten."""
        self._addresses.put(address)

    def close(self) -> None:
        """Finishes what was asked for."""
        self._addresses.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (address := self._addresses.get()) is not None:
            if self._tool:
                family = "ipv6" if ":" in address else "ipv4"
                # Its status says whether there were any: not of interest.
                subprocess.run(
                    [self._tool, "-D", "-f", family, "-s", address],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
