# SPDX-License-Identifier: MIT
"""The server of test_memory.py, a process of its own: `python big_server.py FD SOURCE`.

PUT reads the body in steps of 64 KB and answers with its length and CRC. /hold reads it at once,
/ignore does not read it. GET answers with as many bytes as the query says, from a generator. /file
answers with the file that the query names, through wsgi.file_wrapper.
"""

import socket
import sys
import zlib
from collections.abc import Iterable
from typing import Any

from ctwsgi.server import WSGIServer

STEP = 65536
BLOCK = bytes(range(256)) * (STEP // 256)


def generate(size: int) -> Iterable[bytes]:
    while size:
        yield BLOCK[:size]
        size -= min(size, STEP)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] == "PUT":
        size = crc = 0
        if environ["PATH_INFO"] == "/ignore":
            start_response("200 OK", [])
            return [b"ignored"]
        step = -1 if environ["PATH_INFO"] == "/hold" else STEP
        while data := environ["wsgi.input"].read(step):
            size += len(data)
            crc = zlib.crc32(data, crc)
        start_response("200 OK", [])
        return [b"%d %d" % (size, crc)]
    if environ["PATH_INFO"] == "/file":
        path = environ["QUERY_STRING"]
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"](open(path, "rb"))  # type: ignore[no-any-return]
    size = int(environ["QUERY_STRING"])
    headers = [("Content-Length", str(size))] if environ["PATH_INFO"] == "/length" else []
    start_response("200 OK", headers)
    return generate(size)


if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[1]))
    WSGIServer(listener, application, source=sys.argv[2]).serve_forever()
