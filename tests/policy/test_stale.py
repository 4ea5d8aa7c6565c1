import pytest
from grpc import StatusCode

from seawall.call import Success
from seawall.policy.plan import stack
from seawall.policy.stale import STALE, StaleAnswers, StalePolicy, stale_if_error
from tests.policy.support import World, fails


def world_with(policy: StalePolicy, **servers):
    world = World(servers)
    told = []
    answers = StaleAnswers(policy, world.clock)
    world.handler = stack(
        [
            stale_if_error(
                answers, lambda outcome: outcome.value, lambda call, kind: told.append(kind)
            )
        ],
        world.handler,
    )
    world.answers, world.told = answers, told
    return world


def says(value):
    return 0.001, Success(value)


def ask(world, request=b"x", headers=(), **options):
    call = world.call(**options)
    call.request, call.headers = request, tuple(headers)
    return world.run(call), call


def test_the_last_good_answer_serves_when_there_is_no_new_one():
    world = world_with(StalePolicy(60.0), a=says("old"))
    assert ask(world)[0].value == "old"
    world.servers["a"] = fails()
    world.clock.now += 30
    outcome, call = ask(world)
    assert outcome.ok and outcome.value == "old" and outcome.fallback == "stale"
    ((key, age),) = outcome.trailing
    assert key == STALE and float(age) == pytest.approx(30, abs=1)
    assert "no new answer" in call.notes[-1]
    assert world.told == ["stale"]


def test_a_new_answer_is_the_one_that_is_kept():
    world = world_with(StalePolicy(60.0), a=says("old"))
    ask(world)
    world.servers["a"] = says("new")
    ask(world)
    world.servers["a"] = fails()
    assert ask(world)[0].value == "new"
    assert len(world.answers) == 1


def test_nobody_can_change_what_is_kept():
    world = world_with(StalePolicy(60.0), a=says(["old"]))
    ask(world)[0].value.append("changed")
    world.servers["a"] = fails()
    ask(world)[0].value.append("changed")
    assert ask(world)[0].value == ["old"]


def test_it_is_not_served_when_it_is_too_old():
    world = world_with(StalePolicy(60.0), a=says("old"))
    ask(world)
    world.servers["a"] = fails()
    world.clock.now += 61
    assert not ask(world)[0].ok
    assert len(world.answers) == 0


def test_nor_to_another_request_or_another_caller():
    world = world_with(StalePolicy(60.0), a=says("Ann's"))
    ask(world, headers=[("authorization", "Ann"), ("x-request-id", "1")])
    world.servers["a"] = fails()
    assert not ask(world, b"y", [("authorization", "Ann")])[0].ok
    assert not ask(world, headers=[("authorization", "Bob")])[0].ok
    assert not ask(world)[0].ok
    assert ask(world, headers=[("authorization", "Ann"), ("x-request-id", "2")])[0].ok


def test_what_is_asked_with_credentials_of_its_own_is_not_kept():
    world = world_with(StalePolicy(60.0), a=says("secret"))
    call = world.call()
    call.request, call.credentials = b"x", True
    assert world.run(call).ok
    assert len(world.answers) == 0


def test_the_callers_own_mistake_is_not_papered_over():
    world = world_with(StalePolicy(60.0), a=says("old"))
    ask(world)
    world.servers["a"] = fails(StatusCode.NOT_FOUND)
    assert not ask(world)[0].ok


def test_the_least_recently_used_makes_room():
    world = world_with(StalePolicy(60.0, max_entries=2), a=says("answer"))
    for request in (b"1", b"2", b"1", b"3"):
        ask(world, request)
    world.servers["a"] = fails()
    assert [ask(world, request)[0].ok for request in (b"1", b"2", b"3")] == [True, False, True]


def test_large_requests_are_not_kept():
    world = world_with(StalePolicy(60.0), a=says("answer"))
    ask(world, b"x" * 20_000)
    assert len(world.answers) == 0


class Message:
    """As large as it says."""

    def __init__(self, size: int) -> None:
        self.size = size

    def ByteSize(self) -> int:
        return self.size


def test_what_is_kept_is_bounded_in_bytes():
    world = world_with(StalePolicy(60.0, max_bytes=1000), a=says(Message(300)))
    for number in range(10):
        ask(world, request=b"%d" % number)
    assert len(world.answers) == 3
    world.servers["a"] = says(Message(2000))
    ask(world, request=b"9")
    assert len(world.answers) == 2, "the answer before the one that is too large is not the last"
    world.servers["a"] = fails()
    assert not ask(world, request=b"9")[0].ok
    assert ask(world, request=b"8")[0].ok


class Stubborn:
    def __deepcopy__(self, memo):
        raise TypeError("it can't be copied")


def test_an_answer_that_cannot_be_copied_is_an_answer():
    world = world_with(StalePolicy(60.0), a=says(Stubborn()))
    outcome, call = ask(world)
    assert outcome.ok and isinstance(outcome.value, Stubborn)
    assert any("it can't be copied" in note for note in call.notes)
    assert len(world.answers) == 0


def test_another_policy_keeps_what_it_may():
    world = world_with(StalePolicy(60.0), a=says("old"))
    for number in range(5):
        ask(world, request=b"%d" % number)
    assert world.answers.follow(StalePolicy(10.0, max_entries=2))
    assert len(world.answers) == 2
    world.servers["a"] = fails()
    world.clock.now += 11
    assert not ask(world, request=b"4")[0].ok
    assert not world.answers.follow(StalePolicy(10.0, vary=()))
