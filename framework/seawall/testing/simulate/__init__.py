"""A fleet in virtual time: try a policy on thousands of calls before production does.

The clients run the production policies; replicas, network and time are simulated.
"""

from seawall.testing.simulate.admission import Admission, Shedding
from seawall.testing.simulate.client import Client
from seawall.testing.simulate.distributions import Distribution, fixed, gamma, lognormal
from seawall.testing.simulate.fleet import Fleet
from seawall.testing.simulate.replica import Replica
from seawall.testing.simulate.result import Record, Result, Second, Tally

__all__ = [
    "Admission",
    "Client",
    "Distribution",
    "Fleet",
    "Record",
    "Replica",
    "Result",
    "Second",
    "Shedding",
    "Tally",
    "fixed",
    "gamma",
    "lognormal",
]
