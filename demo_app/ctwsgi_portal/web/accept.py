# SPDX-License-Identifier: MIT
"""Accepts a client by a click, a voucher or a password, each within its limits."""

from __future__ import annotations

import gevent
from gevent.lock import BoundedSemaphore
from werkzeug.security import check_password_hash, generate_password_hash

from ..state.codes import digest, normal_code
from ..state.records import Grant, Method, Voucher, new_id
from .portal import NetworkClient, Portal, now

WINDOW = 600
"""Seconds for which attempts are counted."""
PER_CLIENT = 10
"""Attempts of one address in a window, with vouchers and with passwords each."""
PER_USER = 20
"""Attempts at one user's password in a window, from all addresses."""
PASSWORDS = 300
"""Attempts at passwords in one network in a window. Each takes 0.1 s of CPU time."""

_DAY = 86400

_NOBODY = generate_password_hash("")
"""The hash for unknown users, so that their check takes as long as that of known ones."""

_checks = BoundedSemaphore(2)
"""Limits how many passwords are checked at once: each needs 32 MB for scrypt."""


class NotAccepted(Exception):
    """The reason as a key of the texts, and the HTTP status for it."""

    def __init__(self, text: str, status: int = 403) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def accept(portal: Portal, client: NetworkClient, method: str, form: dict[str, str]) -> Grant:
    """Grants, or raises NotAccepted. `form` has `code`, or `user` and `password`."""
    if method not in client.network.access.methods:
        raise NotAccepted("not_offered", 400)
    if method == "voucher":
        grant = _by_voucher(portal, client, form.get("code", ""))
    elif method == "password":
        grant = _by_password(portal, client, form.get("user", ""), form.get("password", ""))
    else:
        grant = _plain(portal, client, "click", "")
    portal.store.grant(grant)
    portal.note(f"accepted by {method} in {client.network.name}", client)
    return grant


def may_again(client: NetworkClient) -> bool:
    """Whether the client may start a new session before this one ends."""
    return client.network.access.extend


def _by_voucher(portal: Portal, client: NetworkClient, typed: str) -> Grant:
    _limit(portal, f"voucher/{client.network.name}/{client.address}", PER_CLIENT)
    code = normal_code(typed)
    device = f"{client.network.name}/{client.address}"
    voucher = portal.store.redeem(digest(portal.secret, code), device) if code else None
    if voucher is None:
        raise NotAccepted("bad_voucher")
    assert voucher.first_used_at is not None
    return Grant(
        id=new_id(),
        network=client.network.name,
        address=client.address,
        mac=None,
        granted_at=now(),
        expires_at=voucher.first_used_at + voucher.lifetime,
        limit_bytes=_left(voucher),
        method="voucher",
        who=voucher.label,
        voucher=voucher.digest,
    )


def _left(voucher: Voucher) -> int | None:
    return None if voucher.limit_bytes is None else voucher.limit_bytes - voucher.used_bytes


def _by_password(portal: Portal, client: NetworkClient, user: str, password: str) -> Grant:
    _limit(portal, f"password/{client.network.name}/{client.address}", PER_CLIENT)
    _limit(portal, f"password/{client.network.name}", PASSWORDS)
    known = portal.config.users.get(user)
    if known:
        _limit(portal, f"user/{user}", PER_USER)
    if not check_password(known or _NOBODY, password) or not known:
        raise NotAccepted("bad_password")
    return _plain(portal, client, "password", user)


def check_password(hashed: str, password: str) -> bool:
    """Checks in a thread. scrypt takes long, and does not hold the interpreter's lock."""
    with _checks:
        return bool(gevent.get_hub().threadpool.apply(check_password_hash, (hashed, password)))


def _plain(portal: Portal, client: NetworkClient, method: Method, who: str) -> Grant:
    access = client.network.access
    if access.grants_per_day:
        key = f"grants/{client.network.name}/{client.address}"
        if not portal.store.attempt(key, access.grants_per_day, _DAY):
            raise NotAccepted("enough_today", 429)
    granted_at = now()
    return Grant(
        id=new_id(),
        network=client.network.name,
        address=client.address,
        mac=None,
        granted_at=granted_at,
        expires_at=granted_at + access.lifetime,
        limit_bytes=access.limit_bytes,
        method=method,
        who=who,
    )


def _limit(portal: Portal, key: str, limit: int) -> None:
    if not portal.store.attempt(key, limit, WINDOW):
        raise NotAccepted("too_many", 429)
