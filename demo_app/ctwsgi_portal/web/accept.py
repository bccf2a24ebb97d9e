# SPDX-License-Identifier: MIT
"""How a client is accepted: by a click, a voucher or a password, each within its limits."""

from __future__ import annotations

import gevent
from gevent.lock import BoundedSemaphore
from werkzeug.security import check_password_hash, generate_password_hash

from ..state.codes import digest, normal_code
from ..state.records import Grant, Method, Voucher, new_id
from .portal import Client, Portal, now

WINDOW = 600
"""Seconds over which attempts are counted."""
PER_CLIENT = 10
"""Attempts with a voucher or password of one address in a window."""
PER_USER = 20
"""Attempts at one user's password in a window, from anywhere."""
PASSWORDS = 300
"""Attempts at passwords in one network in a window: each takes a tenth of a CPU second."""

_DAY = 86400

_NOBODY = generate_password_hash("")
"""Compared with for unknown users, so that the time does not tell that they are unknown."""


_checks = BoundedSemaphore(2)
"""scrypt takes 32 MB each time, which a small gateway has not often to spare."""


class NotAccepted(Exception):
    """Why not: a key of the texts, and the HTTP status that fits."""

    def __init__(self, text: str, status: int = 403) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def accept(portal: Portal, client: Client, method: str, form: dict[str, str]) -> Grant:
    """Grants, or raises NotAccepted. `form` has code, or user and password."""
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


def may_again(client: Client) -> bool:
    """Whether a session may be started anew before its end."""
    return client.network.access.extend


def _by_voucher(portal: Portal, client: Client, typed: str) -> Grant:
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


def _by_password(portal: Portal, client: Client, user: str, password: str) -> Grant:
    _limit(portal, f"password/{client.network.name}/{client.address}", PER_CLIENT)
    _limit(portal, f"password/{client.network.name}", PASSWORDS)
    known = portal.config.users.get(user)
    if known:
        _limit(portal, f"user/{user}", PER_USER)
    if not check_password(known or _NOBODY, password) or not known:
        raise NotAccepted("bad_password")
    return _plain(portal, client, "password", user)


def check_password(hashed: str, password: str) -> bool:
    """In a thread: scrypt takes long, and lets go of the interpreter meanwhile."""
    with _checks:
        return bool(gevent.get_hub().threadpool.apply(check_password_hash, (hashed, password)))


def _plain(portal: Portal, client: Client, method: Method, who: str) -> Grant:
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
