"""What a balancer is, apart from which ones there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from seawall.call import Call, Endpoint


class Balancer(Protocol):
    """Chooses an endpoint for each attempt.

    One object serves one service on one channel. ``pick`` is called for every attempt, must not
    block and costs O(candidates) at most. What it needs to know about an endpoint is on it:
    ``outstanding``, ``latency``, ``instance.metadata``.
    """

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """Choose one of ``candidates``: connected, admitted by their breakers, never empty."""
