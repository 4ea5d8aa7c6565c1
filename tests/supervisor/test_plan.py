"""What each worker is told, and what is refused before one is started."""

from pathlib import Path

import pytest

import seawall
from seawall.server.event_loop.watch import WEDGED_AFTER
from seawall.server.health.servicer import LIVENESS
from seawall.server.workers.plan import Plan, counted, names_port, run_workers, workers_wanted
from seawall.supervisor import Timing, WorkerId, protocol
from seawall.supervisor.protocol import Job

HERE = Path("/run/seawall-x")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("WORKERS", "PORT", "ADVERTISE", "METRICS", "HEALTH", "LOOP", "HANG_TIMEOUT"):
        monkeypatch.delenv(f"SEAWALL_{name}", raising=False)


def plan(count: int = 4, **settings) -> Plan:
    return Plan(["shop:Inventory"], count, settings)


def told(made: Plan, number: int, generation: int = 1) -> dict:
    return made.job(WorkerId(number, generation), HERE).settings


def test_a_job_survives_the_way_to_the_worker():
    made = plan(registry="etcd://a:1", labels={"a": [1, None]}, service_config=Path("x.json"))
    job = made.job(WorkerId(2, 3), HERE)
    assert Job.decode(job.encode()) == job
    assert job.settings["service_config"] == "x.json"
    assert job.settings["labels"] == {"a": [1, None]}
    assert job.targets == ("shop:Inventory",) and job.number == 2


def test_ports_count_up_from_the_first():
    made = plan(port=5000)
    assert [told(made, n)["port"] for n in (1, 2, 4)] == [5000, 5001, 5003]
    assert made.in_place


def test_free_ports_stay_free():
    assert "port" not in told(plan(), 3)
    assert told(plan(port=0), 3)["port"] == 0
    assert not plan().in_place


def test_the_port_of_the_environment_counts_up_too(monkeypatch):
    monkeypatch.setenv("SEAWALL_PORT", "7000")
    assert told(plan(), 2)["port"] == 7001


def test_addresses_that_only_one_can_have_count_up(monkeypatch):
    monkeypatch.setenv("SEAWALL_METRICS", "0.0.0.0:9464")
    made = plan(health_address="[::]:8080")
    job = made.job(WorkerId(3, 1), HERE)
    assert job.settings["metrics_address"] == "0.0.0.0:9466"
    assert job.settings["health_address"] == "[::]:8082"
    assert made.own_metrics_address == "0.0.0.0:9468"
    assert job.health == "[::1]:8082"
    assert made.in_place, "the next process needs the address of the one before"
    assert counted("127.0.0.1:0", 3) == "127.0.0.1:0"


def test_else_it_is_asked_at_a_socket_of_each_process():
    assert told(plan(), 2, 5)["health_address"] == "unix:/run/seawall-x/2-5.sock"
    assert plan().job(WorkerId(2, 5), HERE).health == "unix:/run/seawall-x/2-5.sock"


def test_an_instance_has_an_id_of_its_own_in_each_process():
    made = plan(instance_id="shop")
    assert told(made, 2, 1)["instance_id"] == "shop-2-1"
    assert told(made, 2, 2)["instance_id"] == "shop-2-2"
    assert told(plan(), 2)["instance_id"] != told(plan(), 2)["instance_id"]
    assert "-2-" in told(plan(), 2)["instance_id"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": 65534}, "port: 4 workers from port 65534 on need port 65537"),
        ({"advertise": "shop.example:443"}, "advertise: .* name the host alone"),
        ({"advertise": "[2001:db8::1]:443"}, "advertise"),
        ({"advertise": "unix:/x"}, "advertise"),
        ({"health_address": "unix:/run/health"}, "health_address: .* give host:port"),
        ({"listener": print}, "listener: .* can't be told to other processes: set it in"),
        ({"registry": object()}, "registry: .* give its URL"),
        ({"port": 99999}, "between 0 and 65535"),
    ],
)
def test_what_cannot_be_is_refused_with_what_mends_it(settings, said):
    with pytest.raises(seawall.ConfigError, match=said):
        plan(**settings)


def test_a_single_worker_may_have_any_address():
    plan(1, advertise="shop.example:443", health_address="unix:/run/health", port=65535)


@pytest.mark.parametrize(
    ("advertise", "port"),
    [("host", False), ("host:1", True), ("2001:db8::1", False), ("[2001:db8::1]", False),
     ("[2001:db8::1]:5", True), ("10.0.0.1:5", True), ("unix:/x", True)],
)  # fmt: skip
def test_which_addresses_name_a_port(advertise, port):
    assert names_port(advertise) is port


@pytest.mark.parametrize(
    ("given", "count"), [(None, None), (1, 1), ("3", 3), (" 8 ", 8), (512, 512)]
)
def test_how_many_are_wanted(given, count):
    assert workers_wanted(given) == count


def test_auto_is_one_for_each_core(monkeypatch):
    monkeypatch.setattr("seawall.server.workers.plan.cores", lambda: 6)
    assert workers_wanted("auto") == workers_wanted("AUTO") == 6


def test_the_environment_counts_unless_something_is_given(monkeypatch):
    monkeypatch.setenv("SEAWALL_WORKERS", "5")
    assert workers_wanted(None) == 5
    assert workers_wanted(2) == 2


@pytest.mark.parametrize("given", [0, -1, "many", "1.5", 513, "²"])
def test_what_is_no_number_of_workers_is_refused(given):
    with pytest.raises(seawall.ConfigError, match="workers: must be a number from 1 to 512"):
        workers_wanted(given)


@pytest.mark.parametrize("seconds", ["soon", 0, -3, "nan", "inf", 1e9])
def test_what_is_no_time_to_hang_is_refused(seconds):
    with pytest.raises(seawall.ConfigError, match="SEAWALL_HANG_TIMEOUT: must be seconds"):
        run_workers(["x:Y"], 1, {}, hang_timeout=seconds)


def test_a_loop_that_cannot_be_had_is_refused_before_anything_starts():
    with pytest.raises(seawall.ConfigError, match="loop: must be one of"):
        run_workers(["x:Y"], 1, {}, loop="trio")


def test_both_sides_mean_the_same_by_liveness():
    assert protocol.LIVENESS == LIVENESS
    assert Timing().wedged == WEDGED_AFTER
