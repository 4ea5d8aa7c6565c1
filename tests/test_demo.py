"""The parts of the demo that need no processes. The whole of it is run by CI: ``--short``."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest
from opentelemetry import trace as otel

from services import plain, store, traces
from services.chaos import Context
from services.demo import faults, report, trace
from services.demo.fleet import HOST, DemoError, free_ports
from services.demo.load import MIX, Shopper, shop, visits
from services.demo.report import Figures, Window
from services.pb.inventory_pb2 import GetStockRequest, Stock
from services.pb.inventory_pb2_grpc import (
    InventoryServicer,
    InventoryStub,
    add_InventoryServicer_to_server,
)


def record(
    at: float, latency: float, code: str = "OK", *, fallback: bool = False
) -> dict[str, Any]:
    return {"kind": "browse", "at": at, "latency": latency, "code": code, "fallback": fallback}


# --- figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (99.9, 100), (100, 100)]
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert report.percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_a_percentile_of_nothing_is_zero() -> None:
    assert report.percentile([], 99) == 0.0


def test_figures_count_failures_doubles_and_fallbacks_of_their_own_side() -> None:
    records = [
        record(0, 0.010),
        record(1, 0.020, fallback=True),
        record(2, 1.000, "DEADLINE_EXCEEDED"),
        record(3, 0.030, "UNAVAILABLE"),
    ]
    charges = {"plain-1": 2, "plain-2": 1, "seawall-1": 3, "seawall-2": 2}

    got = report.figures(records, charges, "plain")

    assert got == Figures(
        calls=4,
        success=50.0,
        p50=0.020,
        p99=1.000,
        p999=1.000,
        failed={"DEADLINE_EXCEEDED": 1, "UNAVAILABLE": 1},
        doubled=1,
        fallbacks=1,
    )
    assert report.figures([], charges, "seawall").doubled == 2


def test_a_share_is_never_rounded_up() -> None:
    assert report.per_cent(99.999) == "99.99 %"
    assert report.per_cent(100.0) == "100.00 %"


def figures(**changes: Any) -> Figures:
    facts: dict[str, Any] = {
        "calls": 1000,
        "success": 100.0,
        "p50": 0.01,
        "p99": 0.02,
        "p999": 0.03,
    }
    return Figures(**{**facts, **changes})


def test_the_promise_is_kept_or_broken() -> None:
    assert report.verdict(figures(success=99.9)) == []
    assert "99.89 %" in report.verdict(figures(success=99.899))[0]
    assert "charged 1 orders" in report.verdict(figures(doubled=1))[0]
    assert len(report.verdict(figures(success=0.0, doubled=1))) == 2


def test_the_comparison_has_a_row_for_every_code_of_either_side() -> None:
    text = report.comparison(
        figures(failed={"UNAVAILABLE": 7}, doubled=2), figures(failed={"DEADLINE_EXCEEDED": 1})
    )
    rows = {line[:22].strip(): line[22:].split() for line in text.splitlines()[2:]}
    assert rows["failed: UNAVAILABLE"] == ["7", "0"]
    assert rows["failed: DEADLINE_EXCEE"[:22]] == ["DED", "0", "1"]
    assert rows["charged twice"] == ["2", "0"]
    assert rows["p99"] == ["20", "ms", "20", "ms"]


def test_a_table_is_as_wide_as_its_widest_cell() -> None:
    assert report.table(("", "b"), [("long name", "1"), ("x", "1000")]).splitlines() == [
        "              b",
        "─────────  ────",
        "long name     1",
        "x          1000",
    ]


def test_calls_belong_to_the_fault_during_which_they_ended() -> None:
    windows = [Window("calm", 0, 2), Window("killed", 2, 4)]
    records = [record(0, 0.01, fallback=True), record(1.9, 0.5, "UNAVAILABLE"), record(5, 0.01)]
    lines = report.by_fault(windows, {"plain": records}).splitlines()
    assert lines[2].split() == ["calm", "0", "of", "1", "1", "10", "ms"]
    assert lines[3].split() == ["killed", "1", "of", "2", "0", "500", "ms"]


def test_the_report_for_machines_is_json() -> None:
    sides = {"plain": figures(), "seawall": figures(success=99.0)}
    got = json.loads(json.dumps(report.as_json(sides, [Window("calm", 0, 2)], {"busy": 0.5})))
    assert got["sides"]["seawall"]["success"] == 99.0
    assert got["faults"] == [{"name": "calm", "begin": 0, "end": 2}]
    assert got["broken"] and got["busy"] == 0.5


# --- the books --------------------------------------------------------------------------------


def test_the_ledger_tells_who_was_charged_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATA", str(tmp_path))
    for order in ("a", "b", "a"):
        store.append(store.CHARGES, f"{order} 100 payments-1")
    assert store.charges(tmp_path / store.CHARGES) == {"a": 2, "b": 1}
    assert store.charges(tmp_path / "none") == {}


def test_lines_of_many_writers_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATA", str(tmp_path))

    def write(writer: int) -> None:
        for number in range(200):
            store.append(store.CHARGES, f"{writer}-{number} {'x' * 50}")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    counted = store.charges(tmp_path / store.CHARGES)
    assert len(counted) == 800
    assert set(counted.values()) == {1}


# --- traces -----------------------------------------------------------------------------------


def span(name: str, parent: str | None, start: int, **facts: Any) -> trace.Span:
    return {
        "trace": facts.pop("trace", "t"),
        "id": facts.pop("id", name),
        "parent": parent,
        "name": name,
        "process": facts.pop("process", "shopper"),
        "start": start * 1_000_000,
        "end": (start + facts.pop("took", 1)) * 1_000_000,
        "status": facts.pop("status", "UNSET"),
        "attributes": facts,
    }


def test_a_trace_is_drawn_as_a_tree() -> None:
    spans = [
        span("late", "checkout 1", 5),
        span("checkout 1", None, 0, took=9, process=None),
        span("early", "checkout 1", 1),
        span("below", "early", 2, process="orders-1", **{"seawall.endpoint": "h:7"}),
    ]
    lines = trace.tree(spans).splitlines()
    assert lines[1].startswith("checkout 1 ")
    assert lines[2].startswith("├─ early ")
    assert lines[3].startswith("│  └─ below ")
    assert lines[4].startswith("└─ late")
    assert "orders-1" in lines[3] and "h:7" in lines[3]
    assert lines[1].endswith("9.0 ms")


def test_the_most_telling_trace_is_an_answered_one_with_failed_attempts() -> None:
    quiet = [span("checkout quiet", None, 0, trace="a")]
    rough = [
        span("checkout rough", None, 0, trace="b"),
        span("attempt", "checkout rough", 1, trace="b", status="ERROR"),
    ]
    lost = [
        span("checkout lost", None, 0, trace="c", status="ERROR"),
        span("attempt 1", "checkout lost", 1, trace="c", status="ERROR"),
        span("attempt 2", "checkout lost", 2, trace="c", status="ERROR"),
    ]
    torn = [
        span("checkout torn", None, 0, trace="d"),
        span("orphan", "never written", 1, trace="d", status="ERROR"),
        span("orphan 2", "never written", 1, trace="d", status="ERROR"),
    ]
    assert "checkout rough" in trace.most_telling([*quiet, *rough, *lost, *torn])
    assert "checkout quiet" in trace.most_telling([*quiet, *lost, *torn])
    assert trace.most_telling([*lost, *torn]) == ""


def test_spans_of_several_processes_come_back_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "spans"
    caller = traces.provider(file, "shopper", always=True).get_tracer("test")
    callee = traces.provider(file, "orders-1").get_tracer("test")
    with caller.start_as_current_span("checkout 7", attributes={"a": 1}):
        with callee.start_as_current_span("within"):
            pass
        unsampled = otel.NonRecordingSpan(otel.SpanContext(1, 2, is_remote=True))
        with callee.start_as_current_span("apart", otel.set_span_in_context(unsampled)):
            pass
    with file.open("a", encoding="utf-8") as spans:
        spans.write('{"half a li')

    within, checkout = trace.read(file)

    assert within["parent"] == checkout["id"] and within["trace"] == checkout["trace"]
    assert (within["process"], checkout["process"]) == ("orders-1", "shopper")
    assert checkout["attributes"] == {"a": 1}
    assert "checkout 7" in trace.tree([within, checkout])


def test_no_spans_were_written_where_nobody_said_where(tmp_path: Path) -> None:
    assert trace.read(tmp_path / "none") == []


# --- the load ---------------------------------------------------------------------------------


def test_visits_are_even_mixed_and_the_same_for_both_sides() -> None:
    first = list(itertools.islice(visits(1, 50), 2000))
    assert first == list(itertools.islice(visits(1, 50), 2000))
    assert [at for at, _, _ in first[:3]] == [0, 0.02, 0.04]
    for kind, share in MIX.items():
        count = sum(visited == kind for _, visited, _ in first)
        assert count == pytest.approx(2000 * share, rel=0.2)


class Stuck(Shopper):
    """Its first visitor waits until ten others have been served."""

    def __init__(self) -> None:
        super().__init__("plain", None, None)  # type: ignore[arg-type]
        self.over = asyncio.Event()
        self._others = 0

    async def visit(self, kind: str, number: int | str) -> bool:
        if number == 0:
            await self.over.wait()
            return True
        self._others += 1
        if self._others == 10:
            self.over.set()
        return False


async def test_a_stuck_call_holds_up_no_other_and_is_counted() -> None:
    visitor = Stuck()
    start = asyncio.get_running_loop().time()  # the monotonic clock
    async with asyncio.timeout(10):
        await shop(visitor, 200, start, visitor.over.wait())
    latency = {record.at: record.latency for record in visitor.records}
    assert len(latency) >= 11
    assert latency[0] >= 10 / 200
    assert visitor.records[-1].fallback


# --- plain stubs ------------------------------------------------------------------------------


class Counting(InventoryServicer):
    """Refuses the first call; keeps every call's metadata."""

    def __init__(self) -> None:
        self.seen: list[Mapping[str, str]] = []

    async def GetStock(self, request: GetStockRequest, context: Context) -> Stock:
        self.seen.append(dict(cast(Any, context.invocation_metadata())))
        if len(self.seen) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return Stock(sku=request.sku)


async def test_a_plain_stub_marks_its_calls_and_retries_as_its_config_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servicer, server = Counting(), grpc.aio.server()
    add_InventoryServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    monkeypatch.setenv(plain.ADDRESSES, json.dumps({"InventoryStub": f"127.0.0.1:{port}"}))
    plain.made.cache_clear()
    await server.start()
    try:
        stub = plain.plain(InventoryStub)
        reply = await stub.GetStock(GetStockRequest(sku="rope"), timeout=10)
    finally:
        await server.stop(None)
        plain.made.cache_clear()
    assert reply.sku == "rope"
    assert [seen[plain.MARK[0]] for seen in servicer.seen] == ["plain", "plain"]


class Given:
    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


def test_a_call_stays_in_the_world_that_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = object(), object()
    monkeypatch.setattr(plain, "plain", lambda stub: theirs)
    assert plain.chosen(Given(("user-agent", "x")), ours) is ours  # type: ignore[arg-type]
    assert plain.chosen(Given(plain.MARK), ours) is theirs  # type: ignore[arg-type]


def test_an_unknown_plain_stub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plain.ADDRESSES, raising=False)
    plain.made.cache_clear()
    with pytest.raises(LookupError, match=r"SHOP_PLAIN_ADDRESSES.*InventoryStub"):
        plain.plain(InventoryStub)


# --- processes --------------------------------------------------------------------------------


def test_ports_are_free_and_distinct() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as probe:
            probe.bind((HOST, port))


async def test_the_script_names_the_fault_that_the_fleet_did_not_survive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forever(stage: faults.Stage) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(faults, "SCRIPT", {"flood": forever})
    monkeypatch.setattr(faults, "PATIENCE", 0.01)
    stage = faults.Stage(None, None, 0.0, 0.0, lambda fault, text: None)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        with pytest.raises(DemoError, match="flood"):
            await faults.perform(stage)
    assert stage.windows == []
