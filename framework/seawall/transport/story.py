"""The story of a call that is under way, or has ended well: for both stacks' ``explain()``."""

from __future__ import annotations

from collections.abc import Callable

from seawall.call import Attempt, Call, Failure, Outcome
from seawall.transport.translate import CallError, story_of


def explained(
    call: Call,
    outcome: Outcome | None,
    winner: Attempt | None,
    error_of: Callable[[Failure], CallError],
) -> str:
    """Each attempt, the ``winner`` that answered last, and what the policies said; ``outcome`` is
    None while the call goes on."""
    if outcome is not None and not outcome.ok:
        return error_of(outcome).explain()
    attempts, notes = [*(call.attempts or ())], [*(call.notes or ())]
    if winner is not None:
        attempts.append(winner)
    elif outcome is None and call.endpoint is not None:
        notes.insert(0, f"sent to {call.endpoint.address}")
    state = "is under way" if outcome is None else "succeeded"
    return story_of(f"{call.method.path} {state}", attempts, notes)
