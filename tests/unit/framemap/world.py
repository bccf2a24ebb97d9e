# SPDX-License-Identifier: MIT
"""One connection through the frame map, and all that may happen to its segments.

    client --up--> middle --across--> server
    client <-home- middle <---down--- server

Each step is a method. A step that is not possible does nothing; a step that shows a mistake raises
AssertionError. `finish` completes the transfer, or shows that it cannot be completed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .client import Burst, Client
from .judge import Judge
from .library import HEADER, MODULO, FrameMap, Library
from .middle import Middle, Reply, Segment, near
from .server import Range, Receiver

QUEUES = ("up", "across", "down", "home")
SEGMENT_QUEUES = QUEUES[:2]

QUEUE_LENGTH = 40
"""A segment that meets a full queue is lost."""

PATIENCE = 12
"""Rounds without a new byte at the server after which the transfer counts as stalled."""


@dataclass(frozen=True)
class Scenario:
    """`first`: sequence number of the first byte. `age`: number of pruned frames."""

    payload: bytes
    first: int = 0
    age: int = 0
    limit: int = 65536
    buffer: int = 20000


class World:
    def __init__(self, library: Library, scenario: Scenario) -> None:
        self._library = library
        self._first = scenario.first
        self._origin = scenario.first + HEADER * scenario.age
        self.map = FrameMap(library, scenario.first, scenario.limit, scenario.age)
        self._middle = Middle(self.map)
        self.client = Client(scenario.payload, scenario.buffer)
        size = len(scenario.payload) * (HEADER + 1) + 2 * HEADER
        self.server = Receiver(size, scenario.buffer)
        self._judge = Judge(self.server)
        self.queues: dict[str, list[Any]] = {name: [] for name in QUEUES}
        self._arrive: dict[str, Callable[[Any], None]] = {
            "up": self._at_middle,
            "across": self._at_server,
            "down": self._back_at_middle,
            "home": self._at_client,
        }

    def close(self) -> None:
        self._library.memory_short = False
        self.map.release()

    # What the client does.

    def fresh(self, size: int, fin: bool = False) -> None:
        self._send(self.client.fresh(size, fin))

    def again(self, skip: int, size: int) -> None:
        self._send(self.client.again(skip, size))

    def bare(self, at_una: bool) -> None:
        self._send(self.client.bare(at_una))

    def keepalive(self, garbage: bool) -> None:
        self._send(self.client.keepalive(garbage))

    def timeout(self) -> None:
        self.client.timeout()

    def lie(self, back: int, size: int) -> None:
        """Sends acknowledged bytes again with another content, and true bytes after them."""
        client = self.client
        at = client.una - back
        end = min(at + size, client.nxt, client.total)
        true = max(at, min(end, self._judge.complete))
        if at < end:
            self._send(Burst(at, b"\xee" * (true - at) + client.payload[true:end]))

    def _send(self, burst: Burst | None) -> None:
        if burst:
            seq = (self._first + burst.at) % MODULO
            self._put("up", Segment(seq, burst.data, burst.fin))

    # What the path does.

    def _put(self, name: str, message: Any) -> None:
        if len(self.queues[name]) < QUEUE_LENGTH:
            self.queues[name].append(message)

    def deliver(self, name: str, index: int = 0, twice: bool = False) -> None:
        """`twice`: the segment arrives and stays in the queue."""
        queue = self.queues[name]
        if index < len(queue):
            self._arrive[name](queue[index] if twice else queue.pop(index))

    def lose(self, name: str, index: int = 0) -> None:
        if index < len(self.queues[name]):
            del self.queues[name][index]

    def cut(self, name: str, index: int, size: int) -> None:
        """Cuts a segment in two; the first has `size` bytes."""
        queue = self.queues[name]
        if index < len(queue) and 0 < size < len(queue[index].data):
            whole: Segment = queue[index]
            seq = (whole.seq + size) % MODULO
            queue[index] = Segment(whole.seq, whole.data[:size], False)
            queue.insert(index + 1, Segment(seq, whole.data[size:], whole.fin))

    def lose_part(self, index: int, size: int) -> None:
        """Loses the first `size` bytes of a segment to the server, and delivers the rest."""
        self.cut("across", index, size)
        self.lose("across", index)
        self.deliver("across", index)

    # What middle and server do.

    def memory(self, short: bool) -> None:
        """Makes the map's allocations fail, or succeed again."""
        self._library.memory_short = short

    def consume(self, count: int) -> None:
        """The application reads, and the server announces its window."""
        self.server.consume(count)
        self._answer()

    def _at_middle(self, segment: Segment) -> None:
        passed = self._middle.forward(segment)
        at = near(segment.seq - self._first, self.client.una)
        if passed is None:
            self._judge.dropped(at + len(segment.data) + segment.fin)
            return
        sent, taken = passed
        position = near(sent.seq - self._origin, self.server.next)
        if taken:
            self._judge.passed(at + taken, position, sent.data, sent.fin)
        else:
            self._judge.bare(at, position)
        self._put("across", sent)

    def _at_server(self, segment: Segment) -> None:
        position = near(segment.seq - self._origin, self.server.next)
        self.server.arrive(position, segment.data, segment.fin)
        self._judge.read()
        self._answer()

    def _answer(self) -> None:
        ack, window, blocks = self.server.reply()
        on_the_wire = tuple((self._server_number(a), self._server_number(b)) for a, b in blocks)
        self._put("down", Reply(self._server_number(ack), window, on_the_wire))

    def _back_at_middle(self, reply: Reply) -> None:
        told = self._middle.reply(reply)
        next_ = self.server.next
        self._judge.reply(
            near(reply.ack - self._origin, next_),
            reply.window,
            tuple(_range(block, self._origin, next_) for block in reply.blocks if block),
            near(told.ack - self._first, self.client.una),
            told.window,
            tuple(block and _range(block, self._first, self.client.una) for block in told.blocks),
        )
        self._put("home", told)

    def _at_client(self, reply: Reply) -> None:
        una = self.client.una
        blocks = (_range(block, self._first, una) for block in reply.blocks if block)
        self.client.hear(near(reply.ack - self._first, una), reply.window, tuple(blocks))

    def _server_number(self, position: int) -> int:
        return (self._origin + position) % MODULO

    # The end.

    def finish(self, size: int = 1460) -> None:
        """Completes the transfer, and judges it. From here on no segment is lost.

        `size`: the longest segment. The client's timer does not expire any more, so the client does
        not resend bytes that have arrived according to a SACK.
        """
        self.memory(short=False)
        rounds, arrived = 0, -1
        while not self.client.done:
            self._flush()
            self.server.consume(len(self.server.data))
            self._answer()
            self._flush()
            if self.client.edge <= self.client.una:
                self.keepalive(garbage=False)
            self.again(0, size)
            self.fresh(size, fin=True)
            now = len(self.server.kinds) - self.server.kinds.count(0)
            rounds = rounds + 1 if now == arrived else 0
            arrived = now
            assert rounds < PATIENCE, (
                f"stalled: {self.client.una} of {self.client.total}, server {self.server.next}"
            )
        self._judge.verdict(self.client.payload)
        assert self.map.count == 0

    def _flush(self) -> None:
        for name in QUEUES:
            while self.queues[name]:
                self.deliver(name)


def _range(block: Range, origin: int, around: int) -> Range:
    left = near(block[0] - origin, around)
    return left, near(block[1] - origin, left)
