# SPDX-License-Identifier: MIT
"""What request input and response need of a connection: more bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Buffer = bytes | memoryview


class Channel(Protocol):
    """Implemented by server.connection.ServedConnection."""

    @property
    def closing(self) -> bool:
        """The server is being stopped, and this is the last response: it says so."""

    def receive_body(self) -> None:
        """Blocks until more was received and parsed. BodyError when there is no more."""

    def send(self, data: Buffer) -> None:
        """Blocks until the kernel has taken all of it. Disconnected when the client is gone."""

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        """The same for several pieces, without joining them first."""
