"""Balancers: which of a service's endpoints a call goes to. A pick never blocks."""

from seawall.balancer.base import Balancer, BalancerPolicy, Needs, needs_of
from seawall.balancer.config import DEFAULT, parse
from seawall.balancer.hot_cold import HotCold, HotColdPolicy
from seawall.balancer.least_loaded import LeastLoaded, LeastLoadedPolicy
from seawall.balancer.least_request import LeastRequest, LeastRequestPolicy
from seawall.balancer.locality import Locality, LocalityPolicy
from seawall.balancer.ring_hash import RingHash, RingHashPolicy
from seawall.balancer.round_robin import ByChance, ByChancePolicy, RoundRobin, RoundRobinPolicy
from seawall.balancer.split import Split, SplitPolicy
from seawall.balancer.weighted import Weighted, WeightedPolicy
from seawall.clock import Random

__all__ = [
    "DEFAULT",
    "Balancer",
    "BalancerPolicy",
    "ByChance",
    "ByChancePolicy",
    "HotCold",
    "HotColdPolicy",
    "LeastLoaded",
    "LeastLoadedPolicy",
    "LeastRequest",
    "LeastRequestPolicy",
    "Locality",
    "LocalityPolicy",
    "Needs",
    "RingHash",
    "RingHashPolicy",
    "RoundRobin",
    "RoundRobinPolicy",
    "Split",
    "SplitPolicy",
    "Weighted",
    "WeightedPolicy",
    "balancer_for",
    "needs_of",
    "parse",
]


def balancer_for(name: str, random: Random) -> Balancer:
    """``least_loaded`` or ``round_robin``, without a config. Raises KeyError for others."""
    policies: dict[str, BalancerPolicy] = {
        "least_loaded": LeastLoadedPolicy(),
        "round_robin": RoundRobinPolicy(),
    }
    return policies[name].build(random, lambda: 0.0)
