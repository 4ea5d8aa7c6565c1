"""The story of a call that is under way, or has ended well: for both stacks' ``explain()``."""

from __future__ import annotations

from collections.abc import Callable

from seawall.call import Call, Failure, Outcome
from seawall.transport.translate import CallError, story_of


def explained(call: Call, outcome: Outcome | None, error_of: Callable[[Failure], CallError]) -> str:
    """Each failed attempt, and what the policies said; ``outcome`` is None while it goes on."""
    if outcome is not None and not outcome.ok:
        return error_of(outcome).explain()
    end = []
    replaced = outcome is not None and outcome.ok and outcome.fallback
    if call.endpoint is not None and not replaced:
        how = "sent to" if outcome is None else "answered by"
        end = [f"{how} {call.endpoint.address}"]
    state = "is under way" if outcome is None else "succeeded"
    title = f"{call.method.path} {state}"
    return story_of(title, call.attempts or (), [*end, *(call.notes or ())])
