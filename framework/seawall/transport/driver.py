"""What drivers share: they perform a plan's effects, and keep account of its attempts.

The plan is stepped right where an attempt's end is heard of: a task or a thread for each call
would cost more than all policies together. The aio driver does it on the event loop (``loop``),
the sync driver under a lock (``sync.driver``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from grpc import StatusCode

from seawall.call import Call, Failure, Outcome
from seawall.errors import in_words
from seawall.policy.plan import Await, LateAnswer, Linger, Plan, Run, Send, Sleep
from seawall.policy.waiting import Waiting
from seawall.transport.attempting import CANCELLED, Attempting, Cancellable, Items
from seawall.transport.discovery import Discovery


class Driver(Attempting):
    """One call under way: its plan and the attempt in hand.

    Below this stand a way to wait (the methods that raise NotImplementedError), and how an
    attempt of each arity is begun. All methods are called by one thread at a time.
    """

    # Defaults stand on the class: each saves an assignment at every call.
    _parked: Waiting | None = None
    """Where the plan waits for a change."""
    _callbacks: list[Callable[[Any], None]] | None = None

    def __init__(
        self,
        bound: Any,
        call: Call,
        plan: Plan,
        discovery: Discovery,
        arguments: dict[str, Any],
        metadata: Items,
    ) -> None:
        self._bound = bound
        self._call = call
        self._plan = plan
        self._discovery = discovery
        self._arguments = arguments
        self._metadata = metadata
        # Timers and changes are shared by many calls: each goes on in its own caller's context.
        self._context = copy_context()

    @property
    def outcome(self) -> Outcome | None:
        """What it has come to; None while it goes on."""
        return self._outcome

    # --- performing effects ---------------------------------------------------------------

    def _step(self, answer: Any) -> None:
        """Go on with the plan: answer its last effect, perform its next."""
        try:
            if type(answer) is LateAnswer:
                effect = self._plan.throw(answer)
            else:
                effect = self._plan.send(answer)
        except StopIteration as stop:
            self._settle(stop.value)
            return
        except Exception as error:  # a balancer of the user's own, or a mistake in ours
            problem = f"a policy failed: {in_words(error)}"
            self._settle(Failure(StatusCode.INTERNAL, problem, error=error))
            return
        if type(effect) is Send:
            self._send(effect)
        elif type(effect) is Sleep:
            self._timer = self._later(effect.seconds, self._slept)
        elif type(effect) is Await:
            self._await(effect)
        elif type(effect) is Linger:
            self._linger()
        elif type(effect) is Run:
            if self._late:
                # Whoever has user code run has come to an end with the attempts: an answer that
                # still came would be thrown in where nobody waits for one.
                decided = answer.outcome if type(answer) is LateAnswer else answer
                self._drop_late(self._lost(decided is not None and decided.ok))
            self._running = self._start(effect)

    def _slept(self) -> None:
        self._step(None)

    # --- waiting for a change ---------------------------------------------------------------

    def _changed(self) -> None:
        if self._parked is None:
            return  # time was up in the moment of the change, or the call has ended
        self._unpark()
        if self._outcome is None:
            self._slept()

    def _unpark(self) -> None:
        parked, self._parked = self._parked, None
        if parked is not None:
            parked.unwait(self)
        if self._timer is not None:
            self._timer.cancel()

    # --- the end ----------------------------------------------------------------------------

    def _finish(self, outcome: Outcome) -> None:
        """The call has ended: tell whoever waits."""
        self._outcome = outcome
        if outcome.ok and not outcome.fallback:
            self._inner = outcome.value
        if self._late:
            self._drop_late(CANCELLED if outcome is CANCELLED else self._lost(outcome.ok))
        self._bound.active.discard(self)
        self._tell_end()

    # What to do when the plan has ended; a stream goes on then.
    _settle = _finish

    def cancel(self) -> bool:
        """Cancel the call, here and at the server. False if it had ended."""
        if self._outcome is not None:
            return False
        self._abort(CANCELLED)
        return True

    def _abort(self, failure: Failure) -> None:
        """End the call now, whatever its plan was about to do."""
        self._outcome = failure
        self._drop_attempt(failure)
        self._plan.close()
        self._finish(failure)

    # --- what each kind of driver does in its own way ---------------------------------------

    def _await(self, effect: Await) -> None:
        """Have ``_changed`` called when there is a change, or the time is up."""
        raise NotImplementedError

    def _start(self, effect: Run) -> Cancellable:
        """Begin to run the user's function; the plan is told what came of it."""
        raise NotImplementedError

    def _tell_end(self) -> None:
        """Wake who waits for the end, and call back."""
        raise NotImplementedError
