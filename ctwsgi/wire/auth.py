# SPDX-License-Identifier: MIT
"""The authentication TLV (0xE7) of a PROXY v2 header, and the keys that make it.

The value is 22 bytes: version u8 = 1, key id u8, time u32 network order (Unix seconds), tag[16].
The tag is keyed BLAKE2s (RFC 7693) with digest length 16 over the whole header, with the tag
itself and the value of any CRC32C TLV taken as zero. It proves that a holder of the key wrote this
header at that time; it proves nothing about the bytes behind the header. The format is described in
docs/wire-formats.md#authentication-tlv-type-0xe7.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from struct import Struct

from ..errors import OriginError, Reason
from .tlv import AUTH, CRC32C, Tlvs, value_spans

VERSION = 1
TAG_SIZE = 16

_VALUE = Struct("!BBI16s")
_NO_TAG = bytes(TAG_SIZE)


class KeyFileError(ValueError):
    """A key file that cannot be used. The message names file and line, and never contains a key."""


@dataclass(frozen=True)
class Key:
    """One shared secret, and the id by which headers name it."""

    id: int
    """0..255."""
    secret: bytes = field(repr=False)
    """16 to 32 bytes."""

    def __post_init__(self) -> None:
        if not 0 <= self.id <= 255:
            raise ValueError("a key's id is 0..255")
        if not 16 <= len(self.secret) <= 32:
            raise ValueError("a key is 16 to 32 bytes")


class KeyRing(Mapping[int, Key]):
    """The accepted keys by id. Never empty: code that has no keys uses None instead."""

    def __init__(self, keys: Iterable[Key]) -> None:
        """ValueError when there is no key, or two keys have the same id."""
        self._keys: dict[int, Key] = {}
        for key in keys:
            if key.id in self._keys:
                raise ValueError(f"key id {key.id} is there twice")
            self._keys[key.id] = key
        if not self._keys:
            raise ValueError("no key")

    @classmethod
    def parse(cls, text: str, name: str = "keys") -> KeyRing:
        """Parses lines of `ID HEX`; skips blank lines and those that begin with #.

        KeyFileError has `name:line` and what is wrong.
        """
        found: dict[int, Key] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                key = _parse_line(line)
                if key.id in found:
                    raise ValueError(f"key id {key.id} is there twice")
            except ValueError as e:
                raise KeyFileError(f"{name}:{number}: {e}") from None
            found[key.id] = key
        if not found:
            raise KeyFileError(f"{name}: no key in it")
        return cls(found.values())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KeyRing:
        """Reads a key file. KeyFileError also when others than its owner may read it."""
        name = os.fspath(path)
        try:
            with open(name, "rb") as file:
                # fstat() on the open file: the path may name another file a moment later.
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read()
        except OSError as e:
            raise KeyFileError(f"{name}: {e.strerror}") from None
        if mode & 0o077:
            raise KeyFileError(f"{name}: mode is {mode & 0o777:04o}, must be 0600 or stricter")
        try:
            text = raw.decode("ascii")
        except UnicodeDecodeError:
            raise KeyFileError(f"{name}: not ASCII text") from None
        return cls.parse(text, name)

    def signer(self) -> Key:
        """The key that signs: the one with the lowest id."""
        return self._keys[min(self._keys)]

    def __getitem__(self, key_id: int) -> Key:
        return self._keys[key_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"KeyRing(ids={sorted(self._keys)})"


def _parse_line(line: str) -> Key:
    words = line.split()
    if len(words) != 2:
        raise ValueError("a line is `ID HEX`")
    number, digits = words
    if not (number.isascii() and number.isdecimal() and len(number) <= 3):
        raise ValueError("a key's id is 0..255")
    try:
        secret = bytes.fromhex(digits)
    except ValueError:
        # Python's message may contain the digits.
        raise ValueError("the key is not pairs of hex digits") from None
    return Key(int(number), secret)


def unsigned_value(key: Key, now: float | None) -> bytes:
    """The TLV's value with an empty tag. ValueError when `now` does not fit 32 bits."""
    seconds = int(time.time() if now is None else now)
    if not 0 <= seconds < 1 << 32:
        raise ValueError(f"not a time that the header can hold: {seconds}")
    return _VALUE.pack(VERSION, key.id, seconds, _NO_TAG)


def sign(header: bytearray, tlvs: Tlvs, start: int, key: Key) -> None:
    """Writes the tag into the complete `header`, whose TLVs begin at `start`.

    The CRC32C is computed afterwards, because it covers the tag.
    """
    (span,) = value_spans(tlvs, AUTH, start)
    header[span.stop - TAG_SIZE : span.stop] = _tag(header, tlvs, start, span, key)


def verify(
    header: bytes, tlvs: Tlvs, start: int, keys: KeyRing, window: int, now: float | None
) -> int:
    """The id of the key that signed `header`. OriginError with an AUTH_* reason otherwise.

    `window` is how many seconds the header's time may differ from `now`; 0: no check of the time.
    """
    spans = value_spans(tlvs, AUTH, start)
    if len(spans) != 1:
        raise OriginError(Reason.AUTH_DUPLICATE if spans else Reason.AUTH_MISSING)
    (span,) = spans
    if span.stop - span.start != _VALUE.size:
        raise OriginError(Reason.AUTH_LENGTH, f"{span.stop - span.start} bytes, not {_VALUE.size}")
    version, key_id, then, tag = _VALUE.unpack_from(header, span.start)
    if version != VERSION:
        raise OriginError(Reason.AUTH_VERSION, f"version {version}")
    key = keys.get(key_id)
    if key is None:
        raise OriginError(Reason.AUTH_KEY_ID, f"key id {key_id}")
    if not hmac.compare_digest(tag, _tag(header, tlvs, start, span, key)):
        raise OriginError(Reason.AUTH_TAG, f"key id {key_id}")
    # The time is checked last: only a valid tag proves that the injector wrote it.
    if window:
        age = (time.time() if now is None else now) - then
        if abs(age) > window:
            raise OriginError(Reason.AUTH_TIME, f"{age:.0f} s old, the window is {window} s")
    return key.id


def _tag(header: bytes | bytearray, tlvs: Tlvs, start: int, value: slice, key: Key) -> bytes:
    blank = bytearray(header)
    blank[value.stop - TAG_SIZE : value.stop] = _NO_TAG
    for span in value_spans(tlvs, CRC32C, start):
        blank[span] = bytes(span.stop - span.start)
    return blake2s(blank, digest_size=TAG_SIZE, key=key.secret).digest()
