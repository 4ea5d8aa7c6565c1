import pytest

from tests.balancer.support import World, call, endpoint, policy

WEIGHTS = {"1.4": 90, "1.5": 10}


def running(*versions):
    return tuple(
        endpoint(f"{version} {number}", version=version) for number, version in enumerate(versions)
    )


def parts(world, candidates, made=None, times=4000) -> dict[str, float]:
    found: dict[str, float] = {}
    for address, count in world.counts(candidates, times, made).items():
        version = address.split()[0]
        found[version] = found.get(version, 0.0) + count / times
    return found


@pytest.mark.parametrize("kind", [tuple, list])
def test_each_version_gets_its_share_whatever_the_number_of_its_instances(kind):
    world = World(policy("split", weights=WEIGHTS))
    found = parts(world, kind(running("1.4", "1.5", "1.5", "1.5")))
    assert found["1.5"] == pytest.approx(0.1, abs=0.02)


def test_a_version_that_nobody_runs_gives_its_share_to_the_others():
    world = World(policy("split", weights={"1": 60, "2": 30, "3": 10}))
    found = parts(world, running("2", "3"))
    assert found["2"] == pytest.approx(0.75, abs=0.03) and found.keys() == {"2", "3"}
    assert parts(world, running("3")) == {"3": 1.0}


def test_a_version_that_is_not_listed_gets_nothing_while_a_listed_one_runs():
    world = World(policy("split", weights=WEIGHTS))
    assert parts(world, running("1.5", "2.0", "2.0")).keys() == {"1.5"}


@pytest.mark.parametrize("weights", [WEIGHTS, {"1.4": 1, "2.0": 0}])
def test_no_call_fails_because_no_listed_version_runs(weights):
    world = World(policy("split", weights=weights))
    found = parts(world, (*running("2.0", "2.0", "3.0"), endpoint("none ")))
    assert found["2.0"] == pytest.approx(0.5, abs=0.03)
    assert found.keys() == {"2.0", "3.0", "none"}


def test_the_header_names_the_version_listed_or_not():
    world = World(policy("split", weights={**WEIGHTS, "0": 0}, header="X-Version"))
    candidates = running("1.4", "1.5", "2.0", "0")
    for version in ("1.4", "1.5", "2.0", "0"):
        made = call(headers=(("x-other", "1.4"), ("x-version", version)))
        assert parts(world, candidates, made, 50) == {version: 1.0}
    unknown = call(headers=(("x-version", "9"), ("x-version", b"1.5")))
    assert parts(world, candidates, unknown)["1.4"] == pytest.approx(0.9, abs=0.02)
    assert list(world.balancer._children) == ["1.4", "1.5", "2.0", "0"]


def test_another_label_and_values_that_are_no_text():
    world = World(policy("split", label="track", weights={"1": 0, "true": 1}, header="t"))
    candidates = (endpoint("a", track=1), endpoint("b"))
    assert world.pick(candidates, call(headers=(("t", "1"),))).address == "a"


def test_reports_reach_the_child_of_the_version():
    world = World(policy("split", weights=WEIGHTS, childPolicy=[{"hot_cold": {}}]))
    assert world.balancer.reports_from
    one, other = candidates = running("1.4", "1.5")
    world.report(one, in_flight=1.0, latency=0.01)  # before any pick: nobody to tell
    world.counts(candidates, 100)
    world.report(one, in_flight=1.0, latency=0.01)
    world.report(other, in_flight=1.0, latency=0.01)
    assert list(world.balancer._children["1.4"]._pool) == [one]


def test_children_of_versions_that_are_gone_go():
    world = World(policy("split", weights=WEIGHTS))
    world.counts(running("1.4", "1.5"), 100)
    kept = world.balancer._children["1.5"]
    world.pick(running("1.5"))
    assert world.balancer._children == {"1.5": kept}
