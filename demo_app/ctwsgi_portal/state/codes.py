# SPDX-License-Identifier: MIT
"""Voucher codes: made at random, typed by people, kept as a keyed digest only.

A code is ten letters and digits of Crockford's base 32 (no I, L, O, U): 50 bits. With the rate
limit of the portal (web/splash.py) guessing is hopeless; the digest is keyed with the portal's
secret, so that a stolen database does not give the codes away either.
"""

from __future__ import annotations

import hmac
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 10

_TYPED = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
"""What Crockford's base 32 reads in place of what it never writes."""


def new_code() -> str:
    """A code as it is printed: XXXXX-XXXXX."""
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return f"{code[:5]}-{code[5:]}"


def normal_code(typed: str) -> str | None:
    """What was typed, in one spelling; None when it cannot be a code."""
    code = typed.strip().upper().translate(_TYPED)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None


def digest(secret: bytes, code: str) -> str:
    """What the store knows a code by. `code` is in normal_code()'s spelling, or as printed."""
    normal = normal_code(code)
    if normal is None:
        raise ValueError("not a voucher code")
    return hmac.new(secret, b"voucher " + normal.encode(), "sha256").hexdigest()
