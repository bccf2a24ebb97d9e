# SPDX-License-Identifier: MIT
"""The properties of the SQLite store alone: its file's mode and version, deletion, connections."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest
from ctwsgi_portal.state import StoreError, open_store
from ctwsgi_portal.state.records import Grant, new_id
from ctwsgi_portal.state.sqlite_sessions import KEPT_CHANGES

from .stores import report


def grant(address, **fields):
    now = time.time()
    return Grant(new_id(), "guests", address, None, now, now + 60, None, "click", **fields)


def test_the_file_is_its_owners_alone(tmp_path):
    store = open_store(f"sqlite:{tmp_path}/new/portal.db")
    store.grant(grant("10.0.0.1"))
    for path in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    store.close()


def test_what_is_purged_is_overwritten(tmp_path):
    url = f"sqlite:{tmp_path}/portal.db"
    store = open_store(url)
    one = grant("10.66.77.88", who="Mr Orange")
    store.grant(one)
    store.end(one.id, "logout")
    assert any(b"10.66.77.88" in p.read_bytes() for p in tmp_path.iterdir())
    store.purge(time.time() + 1, 0)
    store.close()  # merges the write-ahead log into the file, and deletes it
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert b"10.66.77.88" not in data
        assert b"Mr Orange" not in data


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "portal.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=f"sqlite:{path}: "):
        open_store(f"sqlite:{path}")


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "portal.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match=r"version 99.*move the file away"):
        open_store(f"sqlite:{path}")


def test_a_new_file_is_another_history(tmp_path):
    one = open_store(f"sqlite:{tmp_path}/a.db").snapshot().cursor
    two = open_store(f"sqlite:{tmp_path}/b.db").snapshot().cursor
    assert one != two


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:", "portal.db", ""])
def test_what_is_no_store(url):
    with pytest.raises(ValueError, match="not a store"):
        open_store(url)


def test_one_process_may_have_several(tmp_path):
    """A second connection must not cost the first one its lock: without it another process that
    closes last takes the write-ahead log away, and this one never sees a change again.
    """
    url = f"sqlite:{tmp_path}/portal.db"
    stores = [open_store(url) for _ in range(3)]
    cursor = stores[0].snapshot().cursor
    come_and_go = (
        "import sys; from ctwsgi_portal.state import open_store; open_store(sys.argv[1]).close()"
    )
    subprocess.run([sys.executable, "-c", come_and_go, url], check=True)
    assert (tmp_path / "portal.db-wal").exists()
    stores[1].close()
    subprocess.run([sys.executable, "-c", come_and_go, url], check=True)
    late = open_store(url)
    late.grant(grant("10.0.0.1"))
    assert [c.session.grant.address for c in stores[0].changes(cursor, 1)] == ["10.0.0.1"]
    for store in (*stores, late):
        store.close()


def test_threads_share_one(tmp_path):
    store = open_store(f"sqlite:{tmp_path}/portal.db")
    errors = []

    def work(part):
        try:
            for i in range(50):
                store.grant(grant(f"10.{part}.0.{i}"))
                assert store.covering("guests", f"10.{part}.0.{i}") is not None
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.snapshot().sessions) == 300


def test_the_changes_that_are_kept_are_bounded(tmp_path):
    store = open_store(f"sqlite:{tmp_path}/portal.db")
    one = grant("10.0.0.1")
    store.grant(one)
    for number in range(300):
        report(store, one.id, "gw", f"02:00:00:00:{number // 256:02x}:{number % 256:02x}", (), 0)
    with sqlite3.connect(tmp_path / "portal.db") as db:
        # Pretends that there were many more changes.
        db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'changes'", (KEPT_CHANGES,))
    report(store, one.id, "gw", "02:00:00:00:ff:ff", (), 0)
    with sqlite3.connect(tmp_path / "portal.db") as db:
        assert db.execute("SELECT count(*), min(number) FROM changes").fetchone() == (301, 2)
