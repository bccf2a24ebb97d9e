# SPDX-License-Identifier: MIT
"""The signing key of a command that runs as a service: read at the start and at each SIGHUP."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..wire.auth import Key, KeyFileError, KeyRing


def load_signer(path: str | None) -> Key | None:
    """The key that signs, None without a file. KeyFileError."""
    return KeyRing.load(path).signer() if path else None


def reload_signer(
    path: str | None,
    sign_with: Callable[[Key], object],
    log: logging.Logger,
    failures: tuple[type[Exception], ...] = (KeyFileError,),
) -> None:
    """Calls `sign_with` with the file's key and logs what became of it.

    After one of `failures`, from the file or from `sign_with`, the old key stays.
    """
    try:
        key = load_signer(path)
        if key is None:
            log.info("SIGHUP: no key file to read")
            return
        sign_with(key)
    except failures as e:
        log.error("SIGHUP: the old key stays: %s", e)
    else:
        log.info("SIGHUP: signing with key %d", key.id)
