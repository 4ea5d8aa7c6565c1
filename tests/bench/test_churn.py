"""The verdict of the churn: what did not come back is named."""

import math

from bench.churn.__main__ import MORE_MEMORY, missing, run

BEFORE = {
    "server": {"descriptors": 16, "threads": 9, "tasks": 23, "calls": 0, "memory": 100},
    "clients 0": {"descriptors": 8, "threads": 1, "tasks": 1, "memory": 70},
}


def test_what_is_as_before_or_less_is_no_news():
    after = {
        "server": {**BEFORE["server"], "threads": 8, "memory": 100 + MORE_MEMORY},
        "clients 0": {**BEFORE["clients 0"], "done": {"call": 100}},
    }
    assert missing(BEFORE, after) == []


def test_what_is_more_is_named():
    after = {
        "server": {**BEFORE["server"], "calls": 1, "memory": 101 + MORE_MEMORY},
        "clients 0": {**BEFORE["clients 0"], "descriptors": 9},
    }
    assert missing(BEFORE, after) == [
        "calls of server: 0 before, 1 after",
        f"memory of server: 100 MiB before, {101 + MORE_MEMORY} after",
        "descriptors of clients 0: 8 before, 9 after",
    ]


def test_with_grpcs_own_leak_memory_is_not_judged():
    after = {**BEFORE, "server": {**BEFORE["server"], "memory": 1000, "tasks": 24}}
    assert missing(BEFORE, after, math.inf) == ["tasks of server: 23 before, 24 after"]


async def test_half_a_second_of_the_control(capsys, monkeypatch):
    monkeypatch.setattr("bench.churn.__main__.REST", 0.5)
    monkeypatch.setattr("bench.churn.__main__.QUIET", 1)
    await run(0.5, ["--plain"])
    shown = capsys.readouterr().out
    assert "before  server: descriptors" in shown and "did not come back: memory" not in shown


async def test_a_second_of_it(capsys, monkeypatch):
    monkeypatch.setattr("bench.churn.__main__.REST", 0.5)
    monkeypatch.setattr("bench.churn.__main__.QUIET", 1)
    await run(1.0)
    shown = capsys.readouterr().out
    assert "before  server: descriptors" in shown and "after  clients 1: descriptors" in shown
    assert "did not come back: calls" not in shown
