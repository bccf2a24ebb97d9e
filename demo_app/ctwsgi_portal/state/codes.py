# SPDX-License-Identifier: MIT
"""Voucher codes are random, people type them, and the store keeps only a keyed digest of each.

A code has ten letters and digits of Crockford's base 32 (no I, L, O, U): 50 bits, too many to guess
within the portal's limit of attempts (web/accept.py). The digest is keyed with the portal's secret,
so that a stolen database does not give the codes away.
"""

from __future__ import annotations

import hmac
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 10

_TYPED = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
"""Crockford's base 32 reads these letters as digits, and ignores hyphens and blanks."""


def new_code() -> str:
    """A random code in its printed form, XXXXX-XXXXX."""
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return f"{code[:5]}-{code[5:]}"


def normal_code(typed: str) -> str | None:
    """The typed code in the one spelling that digest() takes; None when it cannot be a code."""
    code = typed.strip().upper().translate(_TYPED)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None


def digest(secret: bytes, code: str) -> str:
    """The store's name for a code. `code` may be in any spelling that normal_code() reads."""
    normal = normal_code(code)
    if normal is None:
        raise ValueError("not a voucher code")
    return hmac.new(secret, b"voucher " + normal.encode(), "sha256").hexdigest()
