"""Balancers: which of a service's endpoints a call goes to. A pick never blocks.

Each has a module of its own, which is imported when a config names it.
"""

from seawall.balancer.base import Balancer, BalancerPolicy, Needs, needs_of
from seawall.balancer.config import DEFAULT, parse

__all__ = ["DEFAULT", "Balancer", "BalancerPolicy", "Needs", "needs_of", "parse"]
