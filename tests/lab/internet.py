# SPDX-License-Identifier: MIT
"""The internet in labs with a portal: answers at every address that is routed to this host.

    python tests/lab/internet.py

TCP 80 answers HTTP with the dialled address, and keeps connections alive. TCP 443 and 7 and UDP 53,
123 and 443 send back what they get. TCP 19 sends as many bytes as a line asks for.
"""

from __future__ import annotations

import asyncio
import socket


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, port = writer.get_extra_info("sockname")[:2]
    body = f"the internet, {host} port {port}\n".encode()
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    await _end(writer)


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    wanted = int(await reader.readline())
    while wanted > 0:
        writer.write(b"x" * min(wanted, 65536))
        wanted -= 65536
        await writer.drain()
    await _end(writer)


async def _end(writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)  # type: ignore[attr-defined]


async def main() -> None:
    loop = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6):
        for port in (53, 123, 443):
            # Bound to one address: a client does not accept an answer from another.
            host = "198.18.7.7" if family == socket.AF_INET else "2001:db8::7:7"
            await loop.create_datagram_endpoint(Datagrams, (host, port), family=family)
    for handler, port in ((http, 80), (echo, 443), (echo, 7), (source, 19)):
        await asyncio.start_server(_shielded(handler), None, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


def _shielded(handler):  # type: ignore[no-untyped-def]
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, EOFError, ValueError):
            writer.close()

    return run


if __name__ == "__main__":
    asyncio.run(main())
