"""The engine against queueing theory: where the theory is exact, the simulation must agree."""

import math
from random import Random
from statistics import fmean, stdev

import pytest

from seawall.testing.simulate import Client, Fleet, Replica, fixed, gamma, lognormal

SERVICE = 0.010
CALLS = 20_000


def queue(load: float, service_time, workers: int = 1):
    rate = load * workers / SERVICE
    replica = Replica(service_time, workers=workers)
    fleet = Fleet([replica], [Client(rate, deadline=1000.0, idempotent=False)], delay=0.0, seed=3)
    return fleet.run(CALLS / rate), rate


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_worker_is_an_m_m_1_queue(load):
    result, rate = queue(load, gamma(SERVICE, cv=1))
    mean = 1 / (1 / SERVICE - rate)  # time in the system, exponentially distributed
    assert fmean(record.latency for record in result.records) == pytest.approx(mean, rel=0.08)
    for quantile, tolerance in ((0.5, 0.05), (0.9, 0.1), (0.99, 0.2)):
        expected = -math.log(1 - quantile) * mean
        assert result.latency(quantile) == pytest.approx(expected, rel=tolerance)
    (tally,) = result.tallies.values()
    assert tally.busy / result.duration == pytest.approx(load, rel=0.03)


def test_constant_work_is_an_m_d_1_queue():
    result, _ = queue(0.8, SERVICE)
    mean = SERVICE * (1 + 0.8 / (2 * (1 - 0.8)))  # Pollaczek and Khinchine
    assert fmean(record.latency for record in result.records) == pytest.approx(mean, rel=0.06)


def test_four_workers_are_an_m_m_4_queue():
    result, rate = queue(0.8, gamma(SERVICE, cv=1), workers=4)
    offered = rate * SERVICE
    terms = [offered**k / math.factorial(k) for k in range(4)]
    busy = offered**4 / math.factorial(4) / (1 - offered / 4)
    waits = busy / (sum(terms) + busy)  # Erlang C
    mean = SERVICE + waits * SERVICE / (4 - offered)
    assert fmean(record.latency for record in result.records) == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize("make", [gamma, lognormal], ids=["gamma", "lognormal"])
@pytest.mark.parametrize("cv", [0.3, 1.0, 2.0])
def test_distributions_have_the_mean_and_the_spread_that_they_were_given(make, cv):
    draw, random = make(0.02, cv), Random(5)
    draws = [draw(random) for _ in range(40_000)]
    assert fmean(draws) == pytest.approx(0.02, rel=0.04)
    assert stdev(draws) / 0.02 == pytest.approx(cv, rel=0.08)


def test_distributions_refuse_what_makes_no_sense():
    assert fixed(0.5)(Random(1)) == 0.5
    with pytest.raises(ValueError, match="0 or more"):
        fixed(-1.0)
    with pytest.raises(ValueError, match="above zero"):
        gamma(0.0)
    with pytest.raises(ValueError, match="above zero"):
        lognormal(1.0, cv=0)
