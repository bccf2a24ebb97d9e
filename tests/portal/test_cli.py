# SPDX-License-Identifier: MIT
"""The commands of ctwsgi-portal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from ctwsgi_portal.cli.certificate import why_refused
from ctwsgi_portal.config import load
from ctwsgi_portal.state import open_store
from ctwsgi_portal.state.records import Grant, new_id
from werkzeug.security import check_password_hash

from tests.lab.wait import until

from .serving import OWN, PortalProcess, fresh_client, make_certificate, run


def full(*values):
    """A case of `make test-full` only."""
    return pytest.param(*values, marks=pytest.mark.full)


def init(folder):
    """Runs init there. Returns the path of the configuration."""
    path = folder / "portal.toml"
    run(path, "init", "--name", 'The "Inn" 客栈', "--url", "http://127.0.0.1:8081",
        "--network", "10.9.0.0/16", "--network", "fd00:9::/64", "--interface", "eth7")  # fmt: skip
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a configuration that init wrote."""
    folder = tmp_path_factory.mktemp("made")
    init(folder)
    return folder


@pytest.fixture
def config(made, tmp_path):
    """A copy of it for one test."""
    path = tmp_path / "etc" / "portal.toml"
    path.parent.mkdir()
    path.write_text((made / path.name).read_text().replace(str(made), str(path.parent)))
    shutil.copy(made / "secret", path.parent)
    return path


class TestInit:
    @pytest.fixture
    def config(self, tmp_path):
        return init(tmp_path / "etc")

    def test_what_it_writes_is_valid_and_private(self, config):
        read = load(config)
        assert read.portal.name == 'The "Inn" 客栈'
        assert read.networks.of("10.9.1.1").interfaces == ("eth7",)
        assert read.networks.of("fd00:9::1").name == "guests"
        secret = config.parent / "secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert len(secret.read_text().strip()) == 64
        assert stat.S_IMODE(config.stat().st_mode) & 0o027 == 0
        assert "# Where browsers are sent" in config.read_text()

    def test_the_operators_file_carries_no_licence(self, config):
        assert config.read_text().startswith("# The portal's configuration.")
        assert "SPDX" not in config.read_text()

    def test_it_overwrites_nothing(self, config):
        before = config.read_text(), (config.parent / "secret").read_text()
        assert "File exists" in run(config, "init", status=1)
        assert (config.read_text(), (config.parent / "secret").read_text()) == before

    @pytest.mark.parametrize(
        "words", [["--network", "10.0.0.1/8"], ["--url", "hotel"], ["--name", "a\nb"]]
    )
    def test_a_wrong_option_writes_nothing(self, tmp_path, words):
        path = tmp_path / "portal.toml"
        told = run(path, "init", *words, status=1 if words[0] == "--url" else 2)
        assert "Error: " in told
        assert not path.exists()

    def test_password(self, tmp_path):
        hashed = run(tmp_path / "none", "password", given="s3cret\ns3cret\n").splitlines()[-1]
        assert check_password_hash(hashed, "s3cret")


def missing(module):
    return (
        f"ctwsgi-portal: the Python module {module} is missing; "
        f"in a checkout of ctwsgi: {sys.executable} -m pip install . ./demo_app\n"
    )


def test_a_package_that_is_missing_is_one_line(tmp_path):
    """A Python without site-packages, and a folder with all packages but one."""
    there = ("click", "ctwsgi", "ctwsgi_portal", "gevent", "greenlet", "jinja2", "markupsafe",
             "psutil", "tomli", "werkzeug", "zope")  # fmt: skip
    for name in there:
        if spec := find_spec(name):
            folder = Path(next(iter(spec.submodule_search_locations)))
            (tmp_path / name).symlink_to(folder)
    command = [sys.executable, "-S", "-m", "ctwsgi_portal"]

    def portal(word):
        # Not in the checkout: Python finds its packages in the current folder.
        environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [*command, word], cwd=tmp_path, env=environ, capture_output=True, text=True
        )

    run = portal("check")
    assert (run.returncode, run.stderr) == (1, missing("flask"))
    # The agent's commands do not need it.
    assert portal("--version").stdout.startswith("ctwsgi-portal ")
    (tmp_path / "ctwsgi").unlink()
    run = portal("--version")
    assert (run.returncode, run.stderr) == (1, missing("ctwsgi"))


class TestCheck:
    def test_a_fresh_configuration_needs_a_gateway_only(self, config):
        told = run(config, "check")
        assert "note: no gateway has reported" in told
        assert "0 wrong" in told

    def test_it_names_lines(self, config):
        text = config.read_text().replace('lifetime = "8h"', 'lifetime = "8 hours"')
        config.write_text(text)
        line = text[: text.index("8 hours")].count("\n") + 1
        assert f"{config}:{line}: access.lifetime: " in run(config, "check", status=1)

    def test_it_finds_what_would_stop_the_portal(self, config, tmp_path):
        secret = config.parent / "secret"
        secret.chmod(0o644)
        text = config.read_text()
        config.write_text(
            text.replace('source = "conntrack"', 'source = "proxy"')
            .replace("sqlite:", "sqlite:/proc/nothing")
            .replace('# theme = ""', 'theme = "/nowhere"')
            .replace('"http://127.0.0.1:8081"', '"https://127.0.0.1:8081"')
        )
        told = run(config, "check", status=1)
        assert "wrong: " + str(secret) in told
        assert "may this user write there?" in told
        assert "no folder /nowhere" in told
        assert "--trust" in told  # the advice of ctwsgi serve for an open listener
        assert "has no certfile" in told

    def test_notes(self, config):
        hashed = run(config, "password", given="x\nx\n").splitlines()[-1]
        text = config.read_text()
        text = text.replace('methods = ["click"]', 'methods = ["password"]')
        text = text.replace("[users]", f'[users]\nbob = "{hashed}"')
        text = text.replace('"10.9.0.0/16", "fd00:9::/64"', '"10.9.0.0/16"')
        config.write_text(text)
        store = open_store(load(config).portal.store)
        store.heartbeat("gw")
        store.close()
        told = run(config, "check")
        assert "passwords travel in clear" in told
        assert "has no IPv6" in told
        assert "no gateway" not in told

    @pytest.mark.parametrize(
        ("redirected", "general", "status"),
        [
            ('trust = ["192.0.2.254/32", "2001:db8::/64"]', "", 0),  # a relay
            full('trust = "inline"\nauth_key_file = "{key}"', "", 0),  # the module with a key
            full('trust = "inline"', "guarded = true", 0),  # the module and a packet filter
            ('trust = "inline"', "", 1),
            full("", "", 1),
        ],
    )
    def test_the_portal_on_another_machine(self, config, redirected, general, status):
        key = config.parent / "key"
        key.write_text(f"1 {'ab' * 32}\n")
        key.chmod(0o600)
        lines = f'source = "proxy"\n{redirected}'.replace("{key}", str(key))
        text = config.read_text().replace('source = "conntrack"', lines)
        config.write_text(
            text.replace("[listen.redirected]", f"[listen]\n{general}\n[listen.redirected]")
        )
        told = run(config, "check", status=status)
        assert ("--trust" in told) == bool(status)

    def test_a_bad_certificate(self, config, tmp_path):
        good = make_certificate(tmp_path, "127.0.0.1")
        text = config.read_text() + f'[listen.api]\nbind = "127.0.0.1:8443"\ncertfile = "{good}"\n'
        config.write_text(text)
        assert "user-portal-url is left out" in run(config, "check")
        make_certificate(tmp_path, "127.0.0.1", days=-1)
        told = run(config, "check", status=1)
        assert re.search(f"wrong: .*certificate {good}: .*expired", told)

    def test_why_a_certificate_is_refused(self, config, tmp_path):
        good = str(make_certificate(tmp_path, "127.0.0.1"))
        assert why_refused(good, None, "127.0.0.1") is None
        for file, host, why in (
            ("/nowhere.pem", "127.0.0.1", "No such file"),
            (str(config), "127.0.0.1", "PEM"),
            (good, "127.0.0.2", "mismatch.*127.0.0.2"),
            (good, "other.test", "mismatch.*other.test"),
        ):
            assert re.search(why, why_refused(file, None, host))


class TestVouchers:
    def test_create_list_revoke(self, config):
        codes = run(config, "vouchers", "create", "3", "--label", "room 12", "--lifetime", "2d",
                    "--limit", "5GB", "--devices", "2", "--expires", "30d").split()  # fmt: skip
        assert len(set(codes)) == 3
        store = open_store(load(config).portal.store)
        for voucher in store.vouchers():
            assert (voucher.lifetime, voucher.limit_bytes, voucher.uses) == (172800, 5 * 10**9, 2)
            assert voucher.expires_at == pytest.approx(time.time() + 30 * 86400, abs=60)
        listed = run(config, "vouchers", "list")
        assert listed.count("unused") == 3
        assert listed.count("room 12") == 3
        assert not any(code in listed for code in codes)
        assert run(config, "vouchers", "revoke", codes[0].lower()).strip() == "1 revoked"
        assert run(config, "vouchers", "revoke", codes[0], status=1).strip() == "0 revoked"
        assert run(config, "vouchers", "revoke", "--label", "room 12").strip() == "2 revoked"
        assert run(config, "vouchers", "list", "--label", "room 12").count("revoked") == 3
        assert run(config, "vouchers", "list", "--label", "other").count("\n") == 1

    @pytest.mark.parametrize(
        "words",
        [["create", "0"], ["create", "1", "--lifetime", "1"], ["create", "1", "--lifetime", "5s"],
         ["create", "1", "--limit", "1XB"], ["create", "1", "--label", "a\tb"],
         ["revoke", "not-a-code"]],
    )  # fmt: skip
    def test_wrong_words(self, config, words):
        assert "Error: " in run(config, "vouchers", *words, status=2)


class TestSessions:
    def grant(self, config, **fields):
        now = time.time()
        values = {"id": new_id(), "network": "guests", "address": "10.9.0.5", "mac": None,
                  "granted_at": now, "expires_at": now + 600, "limit_bytes": None,
                  "method": "click", **fields}  # fmt: skip
        store = open_store(load(config).portal.store)
        store.grant(Grant(**values))
        return store, values["id"]

    def test_list_and_kick_by_address_mac_and_id(self, config):
        store, one = self.grant(config, mac="02:00:00:00:00:01")
        _, two = self.grant(config, address="10.9.0.6", who="bob", method="password")
        _, three = self.grant(config, address="10.9.0.7")
        listed = run(config, "sessions", "list").splitlines()
        assert [line.split()[0] for line in listed] == [one[:12], two[:12], three[:12]]
        assert "password bob" in listed[1]
        assert run(config, "sessions", "kick", "02:00:00:00:00:01").strip() == "1 ended"
        run(config, "sessions", "kick", two[:10])
        assert "no session of 10.9.9.9" in run(config, "sessions", "kick", "10.9.9.9", status=1)
        run(config, "sessions", "kick", "10.9.0.7")
        assert store.snapshot().sessions == ()
        assert run(config, "sessions", "list") == ""
        assert run(config, "sessions", "list", "--ended", "10").count("by kicked") == 3

    def test_kick_all_has_to_be_said(self, config):
        store, _ = self.grant(config)
        run(config, "sessions", "kick", status=2)
        run(config, "sessions", "kick", "--all", "10.9.0.5", status=2)
        assert len(store.snapshot().sessions) == 1
        assert run(config, "sessions", "kick", "--all").strip() == "1 ended"


class TestRun:
    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (("secret_file = ", "secret_fiel = "), "secret_fiel: there is no such setting"),
            full(("/secret", "/nothing"), "ctwsgi-portal init makes one"),
            full(("sqlite:", "mysql:"), "is not a store: write sqlite:PATH"),
            (("[terms]", 'theme = "/nowhere"\n[terms]'), "no folder /nowhere"),
        ],
    )
    def test_what_stops_the_start_is_one_line(self, tmp_path, change, why):
        portal = PortalProcess(tmp_path)
        portal.config.write_text(portal.config.read_text().replace(*change, 1))
        with pytest.raises(AssertionError), portal:
            pass
        assert why in portal.log
        assert "Traceback" not in portal.log

    def test_hup_reads_the_configuration_again(self, tmp_path):
        with PortalProcess(tmp_path) as portal:
            visitor = portal.visitor()
            portal.config.write_text(portal.config.read_text().replace("Be kind", "Be quick"))
            portal._process.send_signal(signal.SIGHUP)
            until(lambda: "Be quick" in visitor.get("/").text, "the new terms")

    def test_a_mistake_at_a_hup_changes_nothing(self, tmp_path):
        with PortalProcess(tmp_path) as portal:
            visitor, good = portal.visitor(), portal.config.read_text()
            own = f'bind = "{portal.host}:{OWN}"'
            mistakes = (
                ('lifetime = "2h"', "lifetime = 2"),
                (own, own.replace(str(OWN), "28099")),  # old workers still listen there
                (own, f'{own}\nauth_key_file = "x"'),  # which ctwsgi serve refuses
            )
            for number, (old, new) in enumerate(mistakes, 1):
                portal.config.write_text(good.replace(old, new).replace("Be kind", "Be quick"))
                portal._process.send_signal(signal.SIGHUP)
                until(lambda n=number: portal.log.count("stays as it was") == n, "the refusal")
                assert "Be kind" in visitor.get("/").text
            assert ": access.lifetime: " in portal.log
            portal.config.write_text(good.replace("Be kind", "Be quick"))
            portal._process.send_signal(signal.SIGHUP)
            until(lambda: "Be quick" in visitor.get("/").text, "the new terms")

    def test_it_starts_without_its_store_and_finds_it_later(self, tmp_path):
        place = tmp_path / "not a directory yet"
        place.touch()
        with PortalProcess(tmp_path, tls=True, store=f"sqlite:{place}/portal.db") as portal:
            visitor = portal.visitor()
            assert visitor.get("/").status == 503
            assert visitor.api().status == 503
            assert visitor.dial().status == 503
            assert "may this user write there?" in portal.log
            place.unlink()
            assert visitor.get("/").status == 200
            assert visitor.api().status == 200

    def test_a_restart_forgets_nothing(self, tmp_path):
        portal = PortalProcess(tmp_path)
        with portal:
            visitor = portal.visitor()
            visitor.accept()
            page = portal.visitor(fresh_client())
            form = page.get("/")
        with portal:
            assert visitor.get("/").location == "/status"
            assert page.accept(page=form).status == 303  # the form was open during the restart

    def test_a_broken_store_is_a_page_not_a_traceback(self, tmp_path):
        with PortalProcess(tmp_path) as portal:
            visitor = portal.visitor()
            assert visitor.get("/").status == 200
            for path in tmp_path.glob("portal.db*"):
                path.write_bytes(b"no database" * 1000)
            for answer in (visitor.get("/"), visitor.dial(), visitor.dial(headers={})):
                assert answer.status == 503
                assert "soon" in answer.text
            assert visitor.dial().headers["Connection"] == "close"
            assert "Traceback" not in portal.log
            assert re.search(r"sqlite:.*(malformed|not a database)", portal.log)
