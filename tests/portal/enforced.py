# SPDX-License-Identifier: MIT
"""What befalls an element with a history, on the gateway: test_gateway_enforcement.py has it run.

    python enforced.py CASE

Its output is what would be reported, as JSON: bytes by client, in the order of the reports.
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
"""Elements that a set holds."""
USED = 1_000_000_000

ledger = Ledger()
enforcement = Enforcement(Rules(("lo",), size=SIZE), ledger)


def client(name: str, number: int = 1) -> Client:
    """Each device may have several, one after the other. The later ones end later."""
    address, mac = f"10.0.0.{number}", f"02:00:00:00:00:{number:02x}"
    end = time.time() + 3600 * (2 if name == "first" else 3)
    return Client(name, address, mac, end, "", [address])


def granted() -> Client:
    """One that has used something."""
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
    """The bytes are the former grant's."""
    enforcement.drop(granted())
    enforcement.put(client("second"))
    enforcement.commit()
    read()


def removed_while_read(*later: Client) -> None:
    """What was read before has been counted by the change."""
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
    """And the element begins anew."""
    removed_while_read(client("second"))
    read()


def refused() -> None:
    """The kernel's element stays, and so does what is known of it."""
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
