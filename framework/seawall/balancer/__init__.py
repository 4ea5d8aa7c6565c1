"""Balancers: which of a service's endpoints a call goes to. A pick never blocks."""

from seawall.balancer.base import Balancer
from seawall.balancer.least_loaded import LeastLoaded
from seawall.balancer.round_robin import RoundRobin
from seawall.clock import Random

__all__ = ["Balancer", "LeastLoaded", "RoundRobin", "balancer_for"]


def balancer_for(name: str, random: Random) -> Balancer:
    """The balancer of that name in ``loadBalancingConfig``. Raises KeyError for others."""
    if name == "least_loaded":
        return LeastLoaded(random)
    if name == "round_robin":
        return RoundRobin(random)
    raise KeyError(name)
