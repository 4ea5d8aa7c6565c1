"""A total outage in virtual time: what is told of it does not grow with the calls."""

from collections import Counter

import pytest

from seawall.events import BreakerChanged
from seawall.testing.simulate import Client, Fleet, Replica

REPLICAS = 3


@pytest.mark.parametrize("rate", [10, 200])
def test_each_breaker_tells_once_that_it_opens_and_once_that_it_closes(rate):
    heard = []
    replicas = [Replica() for _ in range(REPLICAS)]
    # Round robin, as the default one is slow to try again who has failed for long.
    config = {"loadBalancingConfig": [{"round_robin": {}}]}
    fleet = Fleet(replicas, [Client(rate)], listener=heard.append, service_config=config)
    for replica in replicas:
        fleet.at(1.0, replica.fail, "UNAVAILABLE")
        fleet.at(31.0, replica.heal)
    result = fleet.run(75.0)
    assert result.success(1.0) < 0.99, "the outage was none"
    assert sum(replica.tally.failed for replica in replicas) > 10 * REPLICAS
    changes = [event for event in heard if isinstance(event, BreakerChanged)]
    assert Counter((event.address, event.new) for event in changes) == {
        (replica.name, new): 1 for replica in replicas for new in ("open", "closed")
    }
