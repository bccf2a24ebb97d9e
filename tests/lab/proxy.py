# SPDX-License-Identifier: MIT
"""An HTTP proxy between the machine's own network namespace and the lab's client.

    python tests/lab/proxy.py < LISTENING-SOCKET

The caller makes the listener in the machine's namespace. This process runs in the client's
namespace and dials from there, so a browser of the machine takes the client's place. It answers one
request per connection, and needs CONNECT for everything but http.
"""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, rest = head.split(b" ", 2)
        connect = method == b"CONNECT"
        parts = urlsplit(("//" if connect else "") + target.decode("latin-1"))
        there = await asyncio.open_connection(parts.hostname, parts.port or 80)
    except (OSError, ValueError, EOFError) as e:
        writer.write(f"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n{e}\n".encode())
        writer.close()
        return
    if connect:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    else:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        version, _, fields = rest.partition(b"\r\n")
        kept = [line for line in fields.split(b"\r\n") if not line.lower().startswith(_HOP)]
        lines = [
            b"%s %s %s" % (method, path.encode("latin-1"), version),
            b"Connection: close",
            *kept,
        ]
        there[1].write(b"\r\n".join(lines))
    await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


_HOP = (b"connection:", b"proxy-connection:")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def main() -> None:
    listener = socket.socket(fileno=0)
    async with await asyncio.start_server(serve, sock=listener) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
