# SPDX-License-Identifier: MIT
"""The part of a connection that request body and response use: receive more, send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Buffer = bytes | memoryview


class Channel(Protocol):
    """What a response needs of its connection. This package may not import the server, whose
    connection.ServedConnection implements it."""

    @property
    def closing(self) -> bool:
        """True when this response is the connection's last, because the server is being stopped."""

    def receive_body(self) -> None:
        """Blocks until more was received and parsed. BodyError when the body breaks off."""

    def send(self, data: Buffer) -> None:
        """Blocks until the kernel has taken all of it. Disconnected when the client is gone."""

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        """As send(), for several pieces, without joining them."""
