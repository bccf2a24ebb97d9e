# SPDX-License-Identifier: MIT
"""The portal's secret: it signs forms and keys the digests of vouchers."""

from __future__ import annotations

import os
import stat

SHORTEST = 16
"""Bytes that a secret has at least."""


class SecretError(Exception):
    """The secret file cannot be used; the message says what to do."""


def read_secret(path: str) -> bytes:
    """SecretError unless the file exists, is long enough, and only its owner can read it."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            secret = file.read().strip()
    except OSError as e:
        raise SecretError(f"{path}: {e.strerror}; ctwsgi-portal init makes one") from None
    if mode & 0o077:
        raise SecretError(f"{path}: others may read it: chmod 600 {path}")
    if len(secret) < SHORTEST:
        raise SecretError(f"{path}: is shorter than {SHORTEST} bytes: delete it and init")
    return secret
