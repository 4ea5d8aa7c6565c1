import pytest
from grpc import StatusCode

from seawall.errors import DeadlinePassed
from seawall.policy.deadline import DEFAULT_TIMEOUT, MARGIN, deadline_of
from tests.policy.support import World, ok


@pytest.mark.parametrize(
    ("timeout", "configured", "inbound", "streaming", "expected"),
    [
        (None, None, None, False, DEFAULT_TIMEOUT),
        (None, None, None, True, None),
        (2.0, None, None, False, 2.0),
        (2.0, 1.0, None, False, 1.0),
        (1.0, 2.0, None, True, 1.0),
        (None, 3.0, None, False, 3.0),
        (None, None, 0.5, False, 0.5 - MARGIN),
        (None, None, 60.0, False, 60.0 - MARGIN),
        (2.0, None, 0.5, False, 0.5 - MARGIN),
        (0.1, None, 0.5, True, 0.1),
        (None, 0.2, 0.5, False, 0.2),
        (0.0, None, None, False, 0.0),
    ],
)
def test_the_least_of_all_limits(timeout, configured, inbound, streaming, expected):
    served = None if inbound is None else 100.0 + inbound
    found = deadline_of(100.0, timeout, configured, served, streaming=streaming)
    assert found == (None if expected is None else pytest.approx(100.0 + expected))


def test_a_call_without_time_is_refused_and_never_sent():
    world = World({"a": ok()})
    outcome = world.run(timeout=0.0)
    assert outcome.code is StatusCode.DEADLINE_EXCEEDED and outcome.refusal is DeadlinePassed
    assert world.sent == []
