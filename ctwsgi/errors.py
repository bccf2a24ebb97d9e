# SPDX-License-Identifier: MIT
"""Why an origin was refused: one exception class, one reason code per case.

Operators count the reasons and tests compare them, so the values must not change; the text beside
them may.
"""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Reason codes, grouped by the code that raises them. Counters and logs show the value."""

    # ctframe (docs/wire-formats.md#ctframe-stream-tcp-ipv4)
    ZERO_LENGTH_FRAME = "zero-length-frame"
    DESTINATION_CHANGED = "destination-changed"
    EOF_IN_FRAME = "eof-in-frame"
    SHORT_DATAGRAM = "short-datagram"
    NOT_IPV4 = "not-ipv4"

    # PROXY protocol (docs/wire-formats.md#proxy-protocol)
    NO_HEADER = "no-header"
    BAD_VERSION = "bad-version"
    BAD_COMMAND = "bad-command"
    BAD_FAMILY = "bad-family"
    BAD_PROTOCOL = "bad-protocol"
    SHORT_ADDRESS = "short-address"
    HEADER_TOO_LONG = "header-too-long"
    BAD_TLV = "bad-tlv"
    BAD_CRC = "bad-crc"
    BAD_V1 = "bad-v1"
    V1_NOT_ACCEPTED = "v1-not-accepted"
    EOF_IN_HEADER = "eof-in-header"

    # authentication (docs/wire-formats.md#authentication-tlv-type-0xe7)
    AUTH_V1 = "auth-v1"
    AUTH_UNKNOWN = "auth-unknown"
    AUTH_LOCAL = "auth-local"
    AUTH_UNSPEC = "auth-unspec"
    AUTH_MISSING = "auth-missing"
    AUTH_DUPLICATE = "auth-duplicate"
    AUTH_LENGTH = "auth-length"
    AUTH_VERSION = "auth-version"
    AUTH_KEY_ID = "auth-key-id"
    AUTH_TAG = "auth-tag"
    AUTH_TIME = "auth-time"

    # receiving rules (docs/threat-model.md)
    UNTRUSTED_PEER = "untrusted-peer"
    SRC_MISMATCH = "src-mismatch"
    ORIGIN_TIMEOUT = "origin-timeout"
    NOT_REDIRECTED = "not-redirected"
    NOT_ALLOWED = "not-allowed"
    LOOP = "loop"

    # the kernel's answer to SO_ORIGINAL_DST
    CONNTRACK_UNAVAILABLE = "conntrack-unavailable"
    CONNTRACK_UNSUPPORTED = "conntrack-unsupported"
    CONNTRACK_ERROR = "conntrack-error"

    def __str__(self) -> str:
        return self.value


class OriginError(Exception):
    """An origin that cannot be accepted. `reason` is for counters, `detail` for people.

    The detail never contains bytes from the peer that were not checked, so it is safe to log.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
