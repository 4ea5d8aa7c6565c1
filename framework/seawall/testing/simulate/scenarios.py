"""The built-in scenarios: faults that are known to bring fleets down.

They are documents as users write them (``--show NAME`` prints one), each a few seconds to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from seawall.testing.simulate.scenario import Scenario

Document = Mapping[str, Any]

_TEN_MS: Final[Document] = {"mean": 0.010, "cv": 1}

BUILT_IN: Final[Mapping[str, Document]] = {
    "linkerd": {
        "about": "One of 11 replicas takes 2 s instead of 5 ms for 30 of 40 s, without any queue: "
        "the scenario in which Linkerd measured 95 % for round robin and 99.9 % for peak EWMA.",
        "seconds": 40,
        "windows": {"slow": [5, 35]},
        "replicas": [{"count": 11, "serviceTime": 0.005}],
        "clients": [{"rate": 400, "deadline": 1, "idempotent": False}],
        "happenings": [{"at": 5, "for": 30, "replicas": [0], "do": "slow", "factor": 400}],
    },
    "antagonists": {
        "about": "Each of 50 replicas works at 30 % of its speed for 1 s in 5, at times of its "
        "own; load at 85 % of what that leaves. An answer is good within 100 ms.",
        "seconds": 10,
        "within": 0.1,
        "replicas": [{"count": 50, "serviceTime": _TEN_MS, "workers": 4}],
        "clients": [{"count": 20, "rate": 731}],
        "happenings": [{"do": "speed", "factor": 0.3, "every": 5, "for": 1, "spread": True}],
    },
    "sink-hole": {
        "about": "One of 50 replicas fails in 1 ms for 20 of 30 s, with a code that is not tried "
        "again: whoever takes it for the fastest sends it everything.",
        "seconds": 30,
        "windows": {"failing": [5, 25]},
        "replicas": [{"count": 50, "serviceTime": _TEN_MS, "workers": 4}],
        "clients": [{"count": 20, "rate": 150, "deadline": 1}],
        "happenings": [
            {"at": 5, "for": 20, "replicas": [0], "do": "fail", "code": "INTERNAL", "after": 0.001}
        ],
    },
    "retry-storm": {
        "about": "All of 10 replicas work at 30 % of their speed from 20 to 30 s, under a load of "
        "80 %: with retries and no budget the service stays down when they are well again.",
        "seconds": 60,
        "windows": {"brown-out": [20, 30], "after 2 s": [32, 60]},
        "replicas": [{"count": 10, "serviceTime": _TEN_MS, "workers": 2}],
        "clients": [{"count": 20, "rate": 80, "deadline": 1}],
        "happenings": [{"at": 20, "for": 10, "do": "speed", "factor": 0.3}],
    },
    "one-slow": {
        "about": "One of 5 replicas works at a twentieth of its speed from 10 to 40 s, and queues.",
        "seconds": 50,
        "windows": {"slow": [10, 40]},
        "replicas": [{"count": 5, "serviceTime": _TEN_MS, "workers": 4}],
        "clients": [{"count": 4, "rate": 200, "deadline": 1}],
        "happenings": [{"at": 10, "for": 30, "replicas": [0], "do": "slow", "factor": 20}],
    },
    "one-frozen": {
        "about": "One of 5 replicas is frozen from 10 to 40 s: it takes calls and answers none.",
        "seconds": 50,
        "windows": {"first 10 s": [10, 20], "frozen": [10, 40]},
        "replicas": [{"count": 5, "serviceTime": _TEN_MS, "workers": 4}],
        "clients": [{"count": 4, "rate": 200, "deadline": 1}],
        "happenings": [{"at": 10, "for": 30, "replicas": [0], "do": "freeze"}],
    },
    "overload": {
        "about": "Clients call at twice what 10 replicas can do, from 10 to 20 s. The replicas "
        "refuse what would wait longer than 100 ms.",
        "seconds": 30,
        "windows": {"overload": [10, 20], "after 1 s": [21, 30]},
        "replicas": [
            {"count": 10, "serviceTime": _TEN_MS, "workers": 2, "admission": {"target": 0.1}}
        ],
        "clients": [{"count": 20, "rate": 60, "deadline": 1}],
        "happenings": [{"at": 10, "for": 10, "do": "rate", "rate": 200}],
    },
    "cpu-bound": {
        "about": "Clients call at 5 times what a replica can do, from 3 to 13 s. Its handlers "
        "compute on the event loop, so nobody knows how many are too many: it sheds by how long "
        "requests wait, the sheddable ones first.",
        "seconds": 18,
        "windows": {"overload": [4, 13], "after 2 s": [15, 18]},
        "replicas": [
            {
                "serviceTime": {"mean": 0.0023, "cv": 0.15},
                "workers": 1,
                "admission": {"shedding": True},
            }
        ],
        "clients": [
            {
                "count": 4,
                "rate": 75,
                "deadline": 0.5,
                "criticality": {"critical": 15, "sheddable": 85},
            }
        ],
        "happenings": [{"at": 3, "for": 10, "do": "rate", "rate": 540}],
    },
}


def built_in(name: str) -> Scenario:
    """The built-in scenario of that name. Raises KeyError for others."""
    return Scenario(BUILT_IN[name], name)
