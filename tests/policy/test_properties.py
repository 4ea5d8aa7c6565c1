"""What holds for every call, whatever the servers, the policies and the deadlines are."""

from itertools import pairwise

from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.call import Failure, Success
from seawall.policy.breaker import TRANSITIONS, Breaker, BreakerPolicy, State
from seawall.policy.budget import RetryBudget
from seawall.policy.bulkhead import Bulkhead, BulkheadPolicy, bulkhead
from seawall.policy.classify import Verdict
from seawall.policy.hedge import HedgePolicy
from seawall.policy.plan import stack
from seawall.policy.retry import UNSENT_RETRIES, RetryPolicy
from seawall.testing.clock import FakeClock
from tests.policy.support import CHARGE, READ, WATCH, World

seconds = st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.3, 1.0, 5.0])
codes = st.sampled_from([code for code in StatusCode if code is not StatusCode.OK])


@st.composite
def answers(draw):
    """After how long a server answers, and what."""
    if draw(st.booleans()):
        return draw(seconds), Success("answer")
    sent = draw(st.integers(0, 9)) > 0
    code = draw(codes) if sent else StatusCode.UNAVAILABLE
    pushback = draw(st.sampled_from([None, None, None, 0.0, 0.02, 100.0])) if sent else None
    stop = sent and draw(st.integers(0, 9)) == 0
    return draw(seconds), Failure(code, "no", sent=sent, pushback=pushback, stop=stop)


retries = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 5),
    attempt_timeout=st.sampled_from([None, 0.02, 0.2]),
    codes=st.frozensets(codes, min_size=1, max_size=4),
    non_idempotent=st.booleans(),
)
hedges = st.none() | st.builds(
    HedgePolicy, max_attempts=st.integers(2, 5), delay=st.sampled_from([None, 0.0, 0.01, 0.1])
)
calls = st.tuples(
    st.sampled_from([READ, CHARGE, WATCH]), st.sampled_from([0.0, 0.05, 0.5, 2.0, None]), answers()
)


@settings(max_examples=300)
@given(
    servers=st.lists(st.lists(answers(), min_size=1, max_size=5), min_size=1, max_size=4),
    policy=retries,
    hedging=hedges,
    requests=st.lists(calls, min_size=1, max_size=8),
    ratio=st.sampled_from([0.0, 0.1, 1.0]),
    floor=st.sampled_from([0.0, 0.1, 3.0]),
)
def test_a_call_ends_in_time_and_within_its_means(servers, policy, hedging, requests, ratio, floor):
    scripts = {str(number): list(script) for number, script in enumerate(servers)}

    def next_of(script):
        script.append(script.pop(0))
        return script[-1]

    world = World(
        {name: (lambda script=script: next_of(script)) for name, script in scripts.items()},
        policy,
        hedging=hedging,
    )
    budget = world.budget
    budget.ratio, budget._floor = ratio, floor
    budget._tokens = 10 * floor
    guard = Bulkhead(BulkheadPolicy(1), "test")
    handler = stack([bulkhead(guard, world.clock)], world.handler)
    for method, timeout, _ in requests:
        began, sent = world.clock.now, len(world.sent)
        call = world.call(method, timeout)
        outcome = world.runner.run(handler(call))
        most = max(policy.max_attempts, hedging.max_attempts if hedging else 1) + UNSENT_RETRIES
        assert len(world.sent) - sent <= most
        if timeout is not None:
            assert world.clock.now <= began + timeout + 1e-9
        for hook in call.at_end or ():
            hook(Success("the stream's end") if outcome.ok else outcome)
        assert guard.running == 0
        assert not any(endpoint.outstanding for endpoint in world.group.endpoints)
        assert not any(endpoint.breaker._probing for endpoint in world.group.endpoints)
    again = sum(attempt is not None for attempt in world.sent) - len(requests)
    free = UNSENT_RETRIES * len(requests)
    means = 10 * floor + ratio * len(requests) + floor * (world.clock.now - world.began)
    assert again <= means + free + 1e-6


@given(
    st.lists(
        st.tuples(st.sampled_from(["learn", "acquire", "wait"]), st.sampled_from(list(Verdict))),
        max_size=80,
    ),
    st.builds(
        BreakerPolicy,
        consecutive_failures=st.integers(1, 4),
        failure_ratio=st.none() | st.floats(0.1, 1.0),
        minimum_calls=st.integers(1, 5),
    ),
)
def test_a_breaker_moves_along_its_table_only(steps, policy):
    moves, told = [], []
    breaker = Breaker(policy, lambda old, new: told.append((old, new)))
    clock, probing = FakeClock(), False
    for step, verdict in steps:
        before = breaker.state
        if step == "wait":
            clock.now += 0.7
        elif step == "acquire" and (breaker.admits(clock.now) or breaker.probeable):
            probing = breaker.acquire(clock.now) or probing
        elif step == "learn":
            breaker.learn(verdict, clock.now)
            if probing:
                breaker.release()
                probing = False
        if breaker.state is not before:
            moves.append((before, breaker.state))
    known = {(old, new) for (old, _), new in TRANSITIONS.items()}
    assert set(moves) <= known
    assert told == [move for move in moves if State.CLOSED in move]
    assert all(
        (one[1] is State.OPEN) is (other[1] is State.CLOSED) for one, other in pairwise(told)
    )
    assert not told or told[0] == (State.CLOSED, State.OPEN)


@given(
    st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200),
    st.floats(0, 1),
    st.floats(0, 5),
)
def test_a_budget_is_never_exceeded(steps, ratio, floor):
    clock = FakeClock()
    budget, began = RetryBudget(clock, ratio=ratio, floor=floor), clock.now
    spent = calls_made = 0
    for wait, call in steps:
        clock.now += wait
        if call:
            budget.request()
            calls_made += 1
        else:
            spent += budget.spend()
        assert spent <= 10 * floor + ratio * calls_made + floor * (clock.now - began) + 1e-6
