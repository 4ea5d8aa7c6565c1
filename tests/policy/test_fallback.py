from grpc import StatusCode

from tests.policy.support import World, fails, ok


def test_a_value_answers_for_a_failure():
    world = World({"a": fails()})
    outcome = world.run(fallback="best sellers")
    assert outcome.ok and outcome.fallback == "value" and outcome.value == "best sellers"


def test_a_function_gets_the_failure():
    world = World({"a": fails()})
    outcome = world.run(fallback=lambda call, failure: failure.code.name)
    assert outcome.ok and outcome.value == "UNAVAILABLE"


def test_it_is_not_asked_if_all_is_well():
    world = World({"a": ok()})
    outcome = world.run(fallback=lambda call, failure: 1 / 0)
    assert outcome.ok and not outcome.fallback and outcome.value == "answer"


def test_it_answers_for_refusals_and_a_passed_deadline():
    assert World({}).run(fallback="x").ok
    assert World({"a": ok()}).run(fallback="x", timeout=0.0).ok


def test_the_callers_own_mistakes_are_not_papered_over():
    world = World({"a": fails(StatusCode.NOT_FOUND)})
    outcome = world.run(fallback="x")
    assert not outcome.ok and outcome.code is StatusCode.NOT_FOUND


def test_it_answers_for_what_a_server_has_cancelled():
    assert World({"a": fails(StatusCode.CANCELLED)}).run(fallback="x").ok


def test_a_method_that_nobody_has_is_not_papered_over():
    assert not World({"a": fails(StatusCode.UNIMPLEMENTED)}).run(fallback="x").ok


def test_a_function_that_fails_leaves_the_failure_and_says_so():
    world = World({"a": fails()})
    call = world.call(fallback=lambda call, failure: 1 / 0)
    outcome = world.run(call)
    assert not outcome.ok and outcome.code is StatusCode.UNAVAILABLE
    assert "ZeroDivisionError" in call.notes[-1]


def test_none_is_a_value_too():
    outcome = World({"a": fails()}).run(fallback=None)
    assert outcome.ok and outcome.value is None


def test_each_is_counted_by_its_kind():
    world = World({"a": fails()})
    world.run(fallback="value")
    world.run(fallback=lambda call, failure: "function")
    world.run(fallback=lambda call, failure: 1 / 0)
    world.servers["a"] = ok()
    world.run(fallback="not needed")
    assert world.fallbacks == ["value", "function"]
