# SPDX-License-Identifier: MIT
"""Changes an element that has counted bytes. test_gateway_enforcement.py runs it on the gateway.

    python enforced.py CASE

Its output is what the agent would report, as JSON: bytes by client, in the order of the reports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from ctwsgi_portal.gateway.clients import Client
from ctwsgi_portal.gateway.enforcement import Enforcement
from ctwsgi_portal.gateway.ledger import Ledger
from ctwsgi_portal.gateway.nft import NftError
from ctwsgi_portal.gateway.ruleset import TABLE, Rules
from ctwsgi_portal.gateway.sets import Sets

SIZE = 8
"""Elements that a set may hold."""
USED = 1_000_000_000
"""Bytes that the first client has used."""

ledger = Ledger()
enforcement = Enforcement(Rules(("lo",), size=SIZE), ledger)


def client(name: str, number: int = 1) -> Client:
    """A client on device `number`. The one called `first` ends earlier than the others."""
    address, mac = f"10.0.0.{number}", f"02:00:00:00:00:{number:02x}"
    end = time.time() + 3600 * (2 if name == "first" else 3)
    return Client(name, address, mac, end, "", [address])


def granted() -> Client:
    """A granted client that has used USED bytes."""
    enforcement.start()
    first = client("first")
    enforcement.put(first)
    enforcement.commit()
    bare = f"element inet {TABLE} macs {{ {first.mac}"
    element = f"{bare} counter packets 1 bytes {USED} timeout 7200s }}"
    subprocess.run(["nft", f"delete {bare} }}; add {element}"], check=True)
    return first


def read() -> None:
    for rows in Sets().read("macs"):
        enforcement.compare(rows, lambda _: None)


def replaced() -> None:
    """Another client replaces the first on its device. The bytes are the first one's."""
    enforcement.drop(granted())
    enforcement.put(client("second"))
    enforcement.commit()
    read()


def removed_while_read(*later: Client) -> None:
    """The element is removed between its reading and compare(). The removal counts its bytes."""
    first = granted()
    enforcement.known()
    rows = [rows for rows in Sets().read("macs") if rows]
    enforcement.drop(first)
    for each in later:
        enforcement.put(each)
    enforcement.commit()
    for found in rows:
        enforcement.compare(found, lambda _: None)


def replaced_while_read() -> None:
    """The same, and the element is added again with a counter of 0."""
    removed_while_read(client("second"))
    read()


def refused() -> None:
    """The kernel refuses a change. Its element stays, and so does the ledger's counter."""
    first = granted()
    read()
    enforcement.drop(first)
    for number in range(1, SIZE + 3):
        enforcement.put(client(f"further {number}", number))
    try:
        enforcement.commit()
        print("the set was not full", file=sys.stderr)
    except NftError:
        read()


CASES = {
    case.__name__: case for case in (replaced, replaced_while_read, refused, removed_while_read)
}

if __name__ == "__main__":
    CASES[sys.argv[1]]()
    batch = ledger.batch(100)
    print(json.dumps([(r.grant_id, r.added) for r in batch.reports if r.added] if batch else []))
