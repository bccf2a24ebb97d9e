# SPDX-License-Identifier: MIT
"""`ctwsgi-portal vouchers`. `create` prints the codes once; no code is stored."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import click

from ..config.table import DURATIONS, SIZES, amount
from ..state.codes import digest, new_code, normal_code
from ..state.records import Voucher
from ..state.secret import SecretError, read_secret
from .opened import load_config, opened_store

_LABEL = re.compile(r"[\w .:@+-]{1,60}")


def _quantity(units: dict[str, int]) -> Callable[[click.Context, click.Parameter, str], int]:
    """A callback of click for a duration or a size, spelled as in the configuration."""

    def convert(ctx: click.Context, param: click.Parameter, value: str) -> int:
        found = amount(0 if value == "0" else value, units)
        if found is None:
            raise click.BadParameter(f"{value!r}: write a number and one of {', '.join(units)}")
        return found

    return convert


@click.group()
def vouchers() -> None:
    """Create, list and revoke vouchers."""


@vouchers.command()
@click.argument("count", type=click.IntRange(1, 10000))
@click.option("--label", default="", help="Name of the batch; default: date and time.")
@click.option(
    "--lifetime",
    callback=_quantity(DURATIONS),
    default="1d",
    show_default=True,
    help="From the first use.",
)
@click.option(
    "--limit",
    callback=_quantity(SIZES),
    default="0",
    help="Data of all devices of a code; 0: no limit.",
)
@click.option("--devices", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option(
    "--expires",
    callback=_quantity(DURATIONS),
    default="365d",
    show_default=True,
    help="From now; unused codes are invalid then.",
)
@click.pass_obj
def create(
    path: str, count: int, label: str, lifetime: int, limit: int, devices: int, expires: int
) -> None:  # fmt: skip
    """Make COUNT vouchers and print their codes, one a line."""
    config = load_config(path)
    at = time.time()
    label = label or time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    if not _LABEL.fullmatch(label):
        raise click.BadParameter("letters, digits, blanks and .:@+- only", param_hint="--label")
    if lifetime < 60 or expires < 60:
        raise click.BadParameter("--lifetime and --expires are at least 60s")
    codes = [new_code() for _ in range(count)]
    secret = _secret(config.portal.secret_file)
    made = [
        Voucher(digest(secret, code), label, lifetime, limit or None, devices, at + expires, at)
        for code in codes
    ]
    with opened_store(config) as store:
        store.add_vouchers(made)
    for code in codes:
        click.echo(code)


@vouchers.command("list")
@click.option("--label", default="", help="Only this batch.")
@click.pass_obj
def list_(path: str, label: str) -> None:
    """Show vouchers without their codes: digest, state, devices, bytes, label."""
    config = load_config(path)
    with opened_store(config) as store:
        found = [v for v in store.vouchers() if not label or v.label == label]
    click.echo(f"{'digest':<12}  {'state':<8}  {'devices':>9}  {'used':>14}  label")
    at = time.time()
    for v in found:
        limit = f"/{v.limit_bytes}" if v.limit_bytes is not None else ""
        click.echo(
            f"{v.digest[:12]:<12}  {state(v, at):<8}  {v.devices:>4}/{v.uses:<4}  "
            f"{f'{v.used_bytes}{limit}':>14}  {v.label}"
        )


@vouchers.command()
@click.argument("what")
@click.option("--label", is_flag=True, help="WHAT is the label of a batch, not a code.")
@click.pass_obj
def revoke(path: str, what: str, label: bool) -> None:
    """Revoke the voucher with the code WHAT, and end its sessions at once."""
    config = load_config(path)
    code = normal_code(what)
    if not label and code is None:
        raise click.BadParameter(f"{what!r} is not a code; for a batch add --label")
    with opened_store(config) as store:
        if label:
            count = store.revoke(label=what)
        else:
            count = store.revoke(digest=digest(_secret(config.portal.secret_file), what))
    click.echo(f"{count} revoked")
    if not count:
        raise SystemExit(1)


def state(voucher: Voucher, at: float) -> str:
    """The word or two that the list shows."""
    if voucher.revoked:
        return "revoked"
    if voucher.limit_bytes is not None and voucher.used_bytes >= voucher.limit_bytes:
        return "used up"
    if voucher.first_used_at is None:
        return "unused" if at < voucher.expires_at else "expired"
    return "in use" if at < voucher.first_used_at + voucher.lifetime else "over"


def _secret(path: str) -> bytes:
    try:
        return read_secret(path)
    except SecretError as e:
        raise click.ClickException(str(e)) from None
