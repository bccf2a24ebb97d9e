# SPDX-License-Identifier: MIT
"""The agent's parts without I/O: elements, counters, clients, and the text of the rules."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from ctwsgi_portal.gateway import nft
from ctwsgi_portal.gateway.clients import MAX_ADDRESSES, Clients, look_up, seen, taken_over, usable
from ctwsgi_portal.gateway.elements import ElementBatch, Elements
from ctwsgi_portal.gateway.ledger import Ledger
from ctwsgi_portal.gateway.neighbours import Neighbours
from ctwsgi_portal.gateway.ruleset import Rules, load_script, render
from ctwsgi_portal.state.records import Grant, Report, Session, Usage
from hypothesis import given
from hypothesis import strategies as st

A, B, C = ("back4", "10.0.0.1"), ("back4", "10.0.0.2"), ("macs", "02:00:00:00:00:01")
NOW = 1000.0


class Kernel:
    """Sets as the kernel has them. Adding an element that exists does not change its timeout."""

    def __init__(self) -> None:
        self.ends: dict[tuple[str, str], float] = {}

    def apply(self, batch: ElementBatch) -> None:
        for element in batch.remove:
            self.ends.pop(element, None)
        for element, end in batch.add.items():
            self.ends.setdefault(element, end)
        self.ends.update(batch.renew)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("xyz"),
        st.frozensets(st.sampled_from([A, B, C])),
        st.integers(1001, 1009).map(float),
        st.booleans(),
    )
)


class TestElements:
    @given(steps=STEPS)
    def test_the_kernel_has_what_the_owners_want(self, steps) -> None:
        elements, kernel, owners = Elements(), Kernel(), {}
        for owner, wanted, end, commit in steps:
            if wanted:
                elements.put(owner, wanted, end)
                owners[owner] = (wanted, end)
            else:
                elements.drop(owner)
                owners.pop(owner, None)
            if commit:
                kernel.apply(elements.pending(NOW))
        kernel.apply(elements.pending(NOW))
        ends: dict[tuple[str, str], float] = {}
        for wanted, end in owners.values():
            for element in wanted:
                ends[element] = max(end, ends.get(element, 0))
        assert kernel.ends == ends
        assert not elements.pending(NOW)

    @given(steps=STEPS, actual=st.dictionaries(st.sampled_from([A, B, C]), st.just(5000.0)))
    def test_a_restart_brings_the_kernel_to_what_is_wanted(self, steps, actual) -> None:
        elements, kernel = Elements(), Kernel()
        kernel.ends = dict(actual)
        elements.assume(actual, 0.0)
        for owner, wanted, end, _ in steps:
            elements.put(owner, wanted, end)
        kernel.apply(elements.pending(NOW))
        assert set(kernel.ends) == {e for e in (A, B, C) if e in elements}
        assert all(end < 2000 for end in kernel.ends.values())

    def test_what_ran_out_is_not_put_in_again(self) -> None:
        elements = Elements()
        elements.put("x", [A], NOW - 1)
        assert not elements.pending(NOW)

    def test_a_difference_is_repaired(self) -> None:
        elements = Elements()
        elements.put("x", [A, B], NOW + 100)
        elements.pending(NOW)
        actual = {A: NOW + 500, ("macs", "02:00:00:00:99:99"): NOW + 60}
        batch = elements.difference([*actual, *elements.known()], actual, NOW)
        assert batch.remove == [("macs", "02:00:00:00:99:99")]
        assert batch.renew == {A: NOW + 100, B: NOW + 100}

    def test_a_second_or_two_are_no_difference(self) -> None:
        elements = Elements()
        elements.put("x", [A], NOW + 100)
        elements.pending(NOW)
        assert not elements.difference([A], {A: NOW + 104}, NOW)

    def test_who_had_it_last_owns_its_last_bytes(self) -> None:
        elements = Elements()
        elements.put("x", [A], NOW + 100)
        elements.drop("x")
        assert elements.owner(A) == "x"
        elements.pending(NOW)
        elements.settled()
        assert elements.owner(A) is None

    def test_what_stands_after_a_flush_is_left_alone(self) -> None:
        elements = Elements()
        elements.put("x", [A, B], NOW + 100)
        elements.pending(NOW)
        elements.assume({A: NOW + 98, C: NOW + 50}, 1.0)
        batch = elements.pending(NOW)
        assert (batch.remove, batch.add, batch.renew) == ([C], {B: NOW + 100}, {})


def told(ledger: Ledger) -> dict[str, tuple[int, dict[str, int | None]]]:
    """Bytes and counters by client in the next report."""
    return {r.grant_id: (r.added, dict(r.counters)) for r in taken(ledger)}


def taken(ledger: Ledger, most: int = 100) -> tuple[Report, ...]:
    """The reports of the next batch, which the store answers."""
    batch = ledger.batch(most)
    ledger.told()
    return batch.reports if batch else ()


class TestLedger:
    def test_what_was_added_since(self) -> None:
        ledger = Ledger()
        ledger.resume({"back4 10.0.0.1": 100})
        ledger.count(A, 150, "x")
        ledger.count(B, 7, "x")
        ledger.count(C, 0, "y")
        assert told(ledger) == {"x": (57, {"back4 10.0.0.1": 150, "back4 10.0.0.2": 7})}
        ledger.count(A, 150, "x")
        assert ledger.changed({A: 150, B: 8, C: 0}) == [B]
        assert told(ledger) == {}

    def test_an_element_that_was_put_in_anew(self) -> None:
        ledger = Ledger()
        ledger.resume({"back4 10.0.0.1": 100})
        ledger.count(A, 30, "x")
        ledger.gone(A, "x")
        ledger.count(A, 40, "x")
        assert told(ledger) == {"x": (70, {"back4 10.0.0.1": 40})}
        ledger.gone(A, "x")
        ledger.gone(B, "x")
        assert told(ledger) == {"x": (0, {"back4 10.0.0.1": None})}

    def test_what_got_no_answer_is_told_again_as_it_was(self) -> None:
        """The store may have taken the batch, and must be able to recognise it."""
        ledger = Ledger()
        ledger.enter("x", "voucher")
        ledger.count(A, 10, "x")
        ledger.tell("x", "mac", ["10.0.0.1"])
        batch = ledger.batch(100)
        ledger.count(A, 15, "x")
        ledger.count(B, 1, None)
        assert batch
        assert ledger.batch(100) is batch
        counters = {"back4 10.0.0.1": 10}
        assert batch.reports == (Report("x", "mac", ("10.0.0.1",), (), 10, "voucher", counters),)
        ledger.told()
        (one, two) = sorted(taken(ledger), key=lambda r: r.grant_id)
        assert (one.grant_id, one.counters) == ("", {"back4 10.0.0.2": 1})
        assert two == Report("x", None, (), (), 5, "voucher", {"back4 10.0.0.1": 15})
        assert ledger.batch(100) is None

    def test_the_last_word_on_an_address(self) -> None:
        ledger = Ledger()
        ledger.tell("x", "mac", ["10.0.0.1", "10.0.0.2"])
        ledger.tell_left("x", "10.0.0.2")
        ledger.tell_left("x", "10.0.0.3")
        ledger.tell("x", "mac", ["10.0.0.3"])
        (report,) = taken(ledger)
        assert (report.addresses, report.left) == (("10.0.0.1", "10.0.0.3"), ("10.0.0.2",))

    def test_news_go_before_bytes(self) -> None:
        ledger = Ledger()
        for number in range(10):
            ledger.count(("back4", f"10.0.0.{number}"), 1, str(number))
        ledger.tell("7", "mac", [])
        assert [r.grant_id for r in taken(ledger, 3)] == ["7", "0", "1"]
        assert len(taken(ledger)) == 7


def session(number=1, *addresses, mac=None, end=2000.0):
    address = f"10.0.0.{number}"
    grant = Grant(f"id{number}", "guests", address, mac, NOW, end, None, "click")
    return Session(grant, Usage(0, (address, *addresses)))


MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


class TestClients:
    def test_by_address_until_the_device_is_known(self) -> None:
        clients = Clients()
        client = clients.put(session())
        assert set(client.elements()) == {("granted4", "10.0.0.1"), ("back4", "10.0.0.1")}
        table = Neighbours([("10.0.0.1", MAC), ("2001:db8::1", MAC), ("10.0.0.9", OTHER)])
        assert look_up(client, clients, table)
        assert set(client.elements()) == {
            ("macs", MAC),
            ("back4", "10.0.0.1"),
            ("back6", "2001:db8::1"),
        }
        assert not look_up(client, clients, table)
        assert clients.on(MAC) == [client]

    def test_addresses_that_the_store_moved_away_go(self) -> None:
        clients = Clients()
        clients.put(session(1, "2001:db8::1", mac=MAC))
        client = clients.put(session(1, mac=MAC))
        assert client.addresses == ["10.0.0.1"]

    def test_a_device_cannot_fill_our_tables(self) -> None:
        clients = Clients()
        client = clients.put(session(mac=MAC))
        look_up(client, clients, Neighbours((f"10.1.0.{n}", MAC) for n in range(200)))
        assert len(client.addresses) == MAX_ADDRESSES

    def test_news_are_found_from_the_neighbour_table(self) -> None:
        clients = Clients()
        unseen, known = clients.put(session(1)), clients.put(session(2, mac=OTHER))
        clients.put(session(3))
        table = Neighbours([("10.0.0.1", MAC), ("2001:db8::2", OTHER)])
        assert seen(clients, table) == {unseen.id: unseen, known.id: known}
        assert seen(clients, table) == {}

    def test_an_address_with_another_device(self) -> None:
        clients = Clients()
        one = clients.put(session(1, "10.0.0.3", "10.0.0.4", mac=MAC))
        clients.put(session(2))
        table = Neighbours([(f"10.0.0.{n}", OTHER) for n in (1, 2, 3)] + [("10.0.0.4", MAC)])
        owners = {f"10.0.0.{n}": "id1" for n in (1, 3, 4)} | {"10.0.0.2": "id2"}
        found = list(taken_over(clients, table, owners.get))
        assert found == [(one, "10.0.0.1"), (one, "10.0.0.3")]

    def test_an_accepted_address_that_another_client_uses(self) -> None:
        clients = Clients()
        one = clients.put(session(1, mac=MAC))
        clients.put(session(2, "10.0.0.1", mac=OTHER))
        table = Neighbours([("10.0.0.1", OTHER)])
        assert list(taken_over(clients, table, lambda _: "id2")) == [(one, "10.0.0.1")]

    def test_they_run_out_in_time(self) -> None:
        clients = Clients()
        clients.put(session(1, end=1010.0))
        clients.put(session(2, end=1020.0))
        clients.put(session(1, end=1030.0))
        assert clients.run_out(1015.0) == []
        assert clients.run_out(1025.0) == ["id2"]
        assert clients.run_out(1035.0) == ["id1"]
        clients.pop("id1")
        assert clients.run_out(9999.0) == []

    @pytest.mark.parametrize(
        "bad",
        [
            session(1, "10.0.0.1 }; flush ruleset"),
            session(1, mac="02:00:00:00:00:01 }"),
            session(1, mac="AA:00:00:00:00:01"),
            session("x"),
            session(1, "::ffff:10.0.0.1"),
            session(1, "::ffff:10.0.0.1%lan0"),
            session(1, "2001:db8::1%lan0"),
            session(1, "2001:DB8::1"),
        ],
    )
    def test_a_session_without_plain_addresses_is_left_out(self, bad) -> None:
        assert not usable(bad)

    def test_usable_sessions(self) -> None:
        assert usable(session(1, "2001:db8::1", mac=MAC))


class TestRuleset:
    def test_networks_are_joined(self) -> None:
        networks = tuple(map(ip_network, ("192.0.2.0/25", "192.0.2.128/25", "192.0.2.7/32")))
        assert "elements = { 192.0.2.0/24 }" in render(Rules(("lan0",), garden=networks))

    def test_a_reload_keeps_the_granted(self) -> None:
        script = load_script(Rules(("lan0",)))
        assert "delete table" not in script
        assert script.startswith("add table inet ctwsgi_portal\nflush table inet ctwsgi_portal\n")

    def test_the_helper_is_there_only_with_the_module(self) -> None:
        remote = (("198.51.100.5", 8080),)
        assert "ct helper" not in render(Rules(("lan0",), redirect_to=remote))
        marked = render(Rules(("lan0",), redirect_to=remote, helper="ctproxy"))
        assert 'type "ctproxy" protocol tcp' in marked
        assert "dnat ip to 198.51.100.5:8080" in marked

    def test_443_is_never_redirected(self) -> None:
        for line in render(Rules(("lan0",))).splitlines():
            assert "443" not in line or "redirect" not in line or line.startswith("#")


@pytest.mark.parametrize("key", ["10.0.0.1 }; flush ruleset; #", "10.0.0.1\n", "", "{ }", "x"])
def test_nft_gets_addresses_and_nothing_else(key: str) -> None:
    """The entries of the store come from other machines."""
    for batch in (ElementBatch(remove=[("macs", key)]), ElementBatch(add={("macs", key): NOW})):
        with pytest.raises(nft.NftError, match="neither an address nor a MAC"):
            nft.apply(batch)
