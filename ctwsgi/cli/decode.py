# SPDX-License-Identifier: MIT
"""`ctwsgi decode`: shows the origin in a recorded stream, to debug an injector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..errors import OriginError, Reason
from ..wire import ctframe, proxy
from ..wire.auth import KeyRing

_BLOCK = 65536


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--source", type=click.Choice(["ctframe", "proxy"]), required=True, help="The format."
)
@click.option("--payload", type=click.File("wb"), help="Write what follows the header(s) here.")
@click.option(
    "--auth-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Verify the signature; its time is not checked, a recording is old.",
)
def decode(
    file: BinaryIO, source: str, payload: BinaryIO | None, auth_key_file: Path | None
) -> None:
    """Read a TCP stream from FILE (default: standard input), print its origin as one JSON line.

    A stream that a server would refuse prints the reason instead, and exits with 1.
    """
    if auth_key_file is not None and source != "proxy":
        raise click.UsageError("--auth-key-file: only PROXY headers can be signed.")
    try:
        keys = KeyRing.load(auth_key_file) if auth_key_file else None
    except (OSError, ValueError) as e:
        raise click.ClickException(str(e)) from None
    try:
        if source == "ctframe":
            _decode_frames(file, payload)
        else:
            _decode_header(file, payload, keys)
    except OriginError as e:
        _print({"error": str(e.reason), "detail": e.detail})
        raise click.exceptions.Exit(1) from None


def _decode_frames(file: BinaryIO, payload: BinaryIO | None) -> None:
    decoder = ctframe.FrameDecoder()
    size = 0
    while block := file.read(_BLOCK):
        stripped = decoder.feed(block)
        size += len(stripped)
        if payload:
            payload.write(stripped)
    decoder.eof()
    _print({"source": "ctframe", "orig_dst": decoder.destination, "payload_bytes": size})


def _decode_header(file: BinaryIO, payload: BinaryIO | None, keys: KeyRing | None) -> None:
    data = b""
    while (found := proxy.decode(data, keys=keys, window=0)) is None:
        block = file.read(_BLOCK)
        if not block:
            raise OriginError(Reason.EOF_IN_HEADER, f"after {len(data)} bytes")
        data += block
    header, length = found
    rest = data[length:]
    size = 0
    while rest:
        size += len(rest)
        if payload:
            payload.write(rest)
        rest = file.read(_BLOCK)
    _print(
        {
            "source": "proxy",
            "version": header.version,
            "command": header.command.name,
            "orig_dst": header.dst,
            "orig_src": header.src,
            "translated_src": header.translated,
            "auth": header.auth,
            "tlvs": [[kind, value.hex()] for kind, value in header.tlvs],
            "payload_bytes": size,
        }
    )


def _print(record: dict[str, Any]) -> None:
    click.echo(json.dumps(record))
