"""Another config in force while calls run: what goes on, and what begins anew."""

from typing import Any

from grpc import StatusCode

from seawall.call import Call, Endpoint, Failure, Instance, Listing, Method, Success
from seawall.config import parse_service_config
from seawall.events import EndpointReturned
from seawall.pipeline import Pipeline, Reading, Setting
from seawall.policy.plan import Run, Send
from seawall.testing.clock import FakeClock
from seawall.testing.plans import instance
from tests.heard import Heard

SERVICE = "shop.v1.Inventory"
READ = Method.from_path(f"/{SERVICE}/GetStock", idempotent=True)
WATCH = Method.from_path(f"/{SERVICE}/Watch", response_streaming=True)


def own(*names: dict, **fields) -> dict:
    given = list(names) or [{"service": SERVICE}]
    return {"methodConfig": [{"name": given, "seawall": fields}]}


class World:
    """A pipeline of which a test answers the attempts."""

    def __init__(self, document: dict, *, zone: str = "", listed: int = 3) -> None:
        self.clock, self.heard = FakeClock(), Heard()
        self._under_way: list[Any] = []
        reading = Reading(lambda outcome: outcome.value, lambda outcome: None)
        setting = Setting(self.clock, lambda: 0.5, reading, self.heard, zone=zone, seed="me")
        self.config = parse_service_config(document)
        self.pipeline = Pipeline(SERVICE, self.config, setting, self._endpoint)
        self.pipeline.group.apply(Listing(tuple(self._instance(n) for n in range(listed))))
        self.connect()

    def _endpoint(self, found: Instance) -> Endpoint:
        return self.pipeline.endpoint(found)

    @staticmethod
    def _instance(number: int):
        return instance(f"10.0.{number // 250}.{number % 250}:1")

    def connect(self) -> None:
        for endpoint in self.pipeline.group.endpoints:
            self.pipeline.group.set_ready(endpoint, True)

    @property
    def endpoints(self) -> list[Endpoint]:
        return self.pipeline.group.endpoints

    def replace(self, document: dict):
        self.config = parse_service_config(document)
        return self.pipeline.reconfigure(self.config)

    def start(self, method: Method = READ, request: bytes = b"x"):
        """A call up to its attempt: its plan, or its outcome if it never came to one."""
        call = Call(method, self.clock(), self.clock() + 5.0)
        call.request = request
        plan = self.pipeline.handler(method, self.config.for_method(method))(call)
        try:
            effect = plan.send(None)
        except StopIteration as stop:
            return call, stop.value
        assert isinstance(effect, Send)
        self._under_way.append(plan)
        return call, plan

    def answer(self, plan: Any, outcome=None) -> Any:
        """What the plan comes to with that outcome of its attempt."""
        answer = outcome or Success("answer")
        while True:
            try:
                effect = plan.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = (
                Success(effect.function(*effect.arguments)) if isinstance(effect, Run) else None
            )

    def begins(self, count: int = 1, method: Method = READ) -> list[bool]:
        return [not isinstance(self.start(method)[1], Failure) for _ in range(count)]


INTERNAL = Failure(StatusCode.INTERNAL, "no")


def test_calls_under_way_count_in_the_bulkhead_of_the_next_config():
    world = World(own(bulkhead={"maxConcurrent": 2}))
    plans = [world.start()[1] for _ in range(2)]
    for changed in ({"maxConcurrent": 2}, {"maxConcurrent": 2, "maxQueue": 0, "maxWait": "1s"}):
        world.replace(own(bulkhead=changed) | {"seawall": {"retryBudget": {"ratio": 0.2}}})
        assert world.begins() == [False]
    world.replace(own(bulkhead={"maxConcurrent": 3}))
    assert world.begins(2) == [True, False]
    world.answer(plans[0])
    assert world.begins(2) == [True, False]


def test_an_entry_with_another_method_in_it_goes_on_too():
    one, other = ({"service": SERVICE, "method": name} for name in ("GetStock", "Reserve"))
    world = World(own(one, bulkhead={"maxConcurrent": 1}))
    _, plan = world.start()
    world.replace(own(one, other, bulkhead={"maxConcurrent": 1}))
    assert world.begins() == [False]
    world.answer(plan)
    assert world.begins() == [True]


def test_turns_that_were_taken_stay_taken():
    world = World(own(rateLimit={"perSecond": 10, "burst": 2}))
    assert world.begins(3) == [True, True, False]
    world.replace(own(rateLimit={"perSecond": 20, "burst": 2}))
    assert world.begins() == [False]


def test_the_budget_is_not_filled_by_a_config_that_says_nothing_of_it():
    world = World({})
    budget = world.pipeline._budget
    while budget.spend():
        pass
    world.replace(own(retries=True))
    assert world.pipeline.retries_left < 1
    world.replace({"seawall": {"retryBudget": {"ratio": 0.2}}})
    assert world.pipeline.retries_left == 30


def test_answers_kept_for_a_time_of_errors_are_there_when_it_comes():
    world = World(own(staleIfError={"maxAge": "60s"}, retries=False))
    assert world.answer(world.start()[1]).ok
    world.replace(own(staleIfError={"maxAge": "30s"}, retries=False))
    outcome = world.answer(world.start()[1], INTERNAL)
    assert outcome.ok and outcome.fallback == "stale"
    world.replace(own(staleIfError={"maxAge": "30s", "vary": ["tenant"]}, retries=False))
    assert not world.answer(world.start()[1], INTERNAL).ok, "another tenant's, perhaps"


def test_how_long_hedged_calls_take_is_not_forgotten():
    world = World(own(hedging={}))
    for _ in range(32):
        plan = world.start()[1]
        world.clock.advance(0.05)
        world.answer(plan)
    world.replace(own(hedging={"maxAttempts": 3}))
    call, _ = world.start()
    assert call.limit is not None


def test_a_balancer_that_stays_keeps_what_it_has_learnt():
    world = World({"loadBalancingConfig": [{"weighted_round_robin": {}}]})
    before = world.pipeline.balancer
    world.endpoints[0].state = "learnt"
    world.replace(own(retries=False) | {"loadBalancingConfig": [{"weighted_round_robin": {}}]})
    assert world.pipeline.balancer is before and world.endpoints[0].state == "learnt"
    world.replace({"loadBalancingConfig": [{"round_robin": {}}]})
    assert world.pipeline.balancer is not before and world.endpoints[0].state is None


OUTLIERS = {
    "seawall": {
        "outlierDetection": {
            "interval": "1s",
            "maxEjectionPercent": 50,
            "failurePercentageEjection": {"minimumHosts": 1, "requestVolume": 1},
        },
        "breaker": {"consecutiveFailures": 1000},
    }
}


def test_nobody_stays_ejected_by_rules_that_are_gone():
    world = World(OUTLIERS)
    streams = [world.start(WATCH) for _ in range(30)]
    for call, plan in streams:
        assert world.answer(plan).ok
        assert call.at_end
    world.replace({})
    for call, _ in streams:  # they end by the rules that they began with
        world.clock.advance(0.2)
        for hook in call.at_end:
            hook(INTERNAL)
    assert not any(endpoint.ejected for endpoint in world.endpoints)
    assert not world.heard.of(EndpointReturned)


def test_ejections_go_on_with_rules_that_stay_and_end_with_them():
    world = World(OUTLIERS)
    bad = world.endpoints[0]
    bad.ejected = True
    world.pipeline.group.trip(bad)
    world.replace(OUTLIERS | own(retries=False))
    assert bad.ejected
    world.replace({})
    assert not bad.ejected and not world.pipeline.group.tripped


def test_grpcs_spelling_of_the_rules_in_force_changes_nothing():
    world = World(OUTLIERS | {"loadBalancingConfig": [{"round_robin": {}}]})
    balancer, bad = world.pipeline.balancer, world.endpoints[0]
    bad.ejected = True
    own = dict(OUTLIERS["seawall"])
    rules = own.pop("outlierDetection") | {"childPolicy": [{"round_robin": {}}]}
    world.replace(
        {"loadBalancingConfig": [{"outlier_detection_experimental": rules}], "seawall": own}
    )
    assert bad.ejected and world.pipeline.balancer is balancer


def test_who_was_warming_up_takes_its_whole_share_when_there_is_no_slow_start_any_more():
    world = World({"seawall": {"slowStart": {"window": "60s"}}})
    world.start()
    assert all(endpoint.share == 10 for endpoint in world.endpoints)
    world.replace({})
    world.clock.advance(61)
    world.start()
    assert all(endpoint.share == 1 for endpoint in world.endpoints)


def test_with_a_ring_of_hashes_all_are_used_and_without_it_a_subset_again():
    world = World({}, listed=100)
    assert len(world.endpoints) == 20
    turnover = world.replace({"loadBalancingConfig": [{"ring_hash_experimental": {}}]})
    assert len(turnover.added) == 80 and not turnover.removed
    turnover = world.replace({})
    assert len(turnover.removed) == 80 and len(world.endpoints) == 20


def test_the_subset_follows_the_zone_when_the_balancer_does():
    world = World({}, zone="a", listed=0)
    listing = Listing(
        tuple(instance(f"10.0.{n}.1:1") for n in range(100))
        + tuple(
            type(one)(SERVICE, one.id, one.address, {"zone": "a"})
            for one in (instance(f"10.1.{n}.1:1") for n in range(30))
        )
    )
    world.pipeline.group.apply(listing)
    assert world.replace({"loadBalancingConfig": [{"locality": {}}]})
    near = sum(e.instance.metadata.get("zone") == "a" for e in world.endpoints)
    assert near == 10 and len(world.endpoints) == 20


def test_a_balancer_that_cannot_be_made_changes_nothing():
    world = World(own(bulkhead={"maxConcurrent": 1}))

    class Broken:
        name = "broken"

        def build(self, random, clock, zone=""):
            raise RuntimeError("no")

    before = world.pipeline.balancer
    broken = type(world.config)(balancer=Broken())
    for attempt in (world.pipeline.rehearse, world.pipeline.reconfigure):
        try:
            attempt(broken)
        except RuntimeError:
            pass
        else:
            raise AssertionError("it was made")
    assert world.pipeline.balancer is before and world.begins(2) == [True, False]
