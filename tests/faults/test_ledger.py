"""The judge of what was lost and what came twice is itself judged."""

from __future__ import annotations

import pytest

from tests.faults.ledger import Change, Ledger, Sighting, Verdict, difference

SERVICE = "shop.v1.Inventory"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def plan(ledger: Ledger, id_: str, state: str | None, *, acked: bool = True) -> Change:
    change = ledger.plan(SERVICE, id_, state, at=0.0)
    change.acked = acked
    return change


def saw(put: dict[str, str] | None = None, *gone: str, again: tuple[str, ...] = ()) -> Sighting:
    return Sighting(1.0, SERVICE, put or {}, gone, again)


def counts(verdict: Verdict) -> tuple[int, int]:
    return len(verdict.lost), len(verdict.twice)


def test_all_that_happened_was_seen(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    plan(ledger, "a", "2")
    plan(ledger, "b", "3")
    plan(ledger, "a", None)
    judged = ledger.judge([saw({"a": "1"}), saw({"a": "2"}), saw({"b": "3"}), saw({}, "a")])
    assert counts(judged) == (0, 0)
    assert ledger.expected() == {SERVICE: {"b": "3"}}


def test_several_changes_may_be_seen_as_one(ledger: Ledger) -> None:
    for state in ("1", "2", "3"):
        plan(ledger, "a", state)
    plan(ledger, "b", "4")
    plan(ledger, "b", None)
    assert counts(ledger.judge([saw({"a": "3"})])) == (0, 0)


def test_the_last_change_never_came(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    plan(ledger, "a", "2")
    assert counts(ledger.judge([saw({"a": "1"})])) == (1, 0)


def test_a_goodbye_never_came(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    plan(ledger, "a", None)
    assert counts(ledger.judge([saw({"a": "1"})])) == (1, 0)


def test_a_change_was_missing_when_a_later_one_was_there(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    plan(ledger, "b", "2")
    assert counts(ledger.judge([saw({"b": "2"}), saw({"a": "1"})])) == (1, 0)


def test_of_a_change_that_was_not_confirmed_the_order_is_open(ledger: Ledger) -> None:
    plan(ledger, "a", "1", acked=False)
    plan(ledger, "b", "2")
    assert counts(ledger.judge([saw({"b": "2"}), saw({"a": "1"})])) == (0, 0)


def test_what_was_superseded_comes_back(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    plan(ledger, "a", "2")
    judged = ledger.judge([saw({"a": "1"}), saw({"a": "2"}), saw({"a": "1"}), saw({"a": "2"})])
    assert counts(judged) == (0, 1)


def test_it_stays_at_what_was_superseded(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    plan(ledger, "a", "2")
    judged = ledger.judge([saw({"a": "1"}), saw({"a": "2"}), saw({"a": "1"})])
    assert counts(judged) == (1, 1)


def test_an_instance_flaps(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    assert counts(ledger.judge([saw({"a": "1"}), saw({}, "a"), saw({"a": "1"})])) == (0, 1)


def test_what_was_known_is_told_again(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    assert counts(ledger.judge([saw({"a": "1"}), saw(again=("a",))])) == (0, 1)


def test_an_instance_that_nobody_announced(ledger: Ledger) -> None:
    plan(ledger, "a", "1")
    assert counts(ledger.judge([saw({"a": "1", "x": "9"})])) == (0, 1)


def test_a_refused_announcement_is_taken_back_and_made_again(ledger: Ledger) -> None:
    plan(ledger, "a", "1", acked=False)
    plan(ledger, "a", None, acked=False)
    plan(ledger, "a", "3")
    assert counts(ledger.judge([saw({"a": "1"}), saw({}, "a"), saw({"a": "3"})])) == (0, 0)
    assert counts(ledger.judge([saw({"a": "3"})])) == (0, 0)


def test_the_difference_is_named() -> None:
    expected = {SERVICE: {"a": "1", "b": "2"}}
    assert not difference(expected, {SERVICE: {"a": "1", "b": "2"}, "other": {"x": "1"}})
    assert "/b as 2, but as None" in difference(expected, {SERVICE: {"a": "1"}})
    assert "/x as None, but as 9" in difference(
        expected, {SERVICE: {**expected[SERVICE], "x": "9"}}
    )
