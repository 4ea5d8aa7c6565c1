"""One client's connection to one replica: what the network does to both."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from seawall.call import Failure
from seawall.testing.simulate.attempt import Attempt
from seawall.testing.simulate.engine import Engine

if TYPE_CHECKING:
    from seawall.testing.simulate.replica import Replica

PING_EVERY: Final = 5.0
"""Seconds between keep-alive pings, as ``transport.keepalive`` has them."""
PING_TIMEOUT: Final = 2.0
"""Seconds that a ping may go unanswered before the connection is given up."""
CONNECT_TIMEOUT: Final = 2.0
"""Seconds that a connection attempt may take."""
FIRST_BACKOFF: Final = 0.1
MOST_BACKOFF: Final = 2.0
"""Seconds between connection attempts, as ``transport.keepalive`` has them."""
_BACKOFF_GROWTH: Final = 1.6  # gRPC's own


OnState = Callable[[bool, str | None], None]


class Connection:
    """What ``Endpoint.transport`` is in a simulation: kept connected, as gRPC would.

    ``on_state(ready, problem)`` is called whenever it comes up or goes down.
    """

    def __init__(
        self, engine: Engine, delay: float, random: Random, replica: Replica, on_state: OnState
    ) -> None:
        self.replica = replica
        self.connected = False
        self._engine = engine
        self._delay = delay
        self._random = random
        self._on_state = on_state
        self._open: dict[Attempt, None] = {}
        """Attempts under way, in the order in which they were sent."""
        self._backoff = FIRST_BACKOFF
        self._phase = random.random() * PING_EVERY
        self._retired = False

    def lost_since(self, when: float) -> bool:
        """Whether it is down. What fails here says itself whether it was sent."""
        return not self.connected

    def start(self, *, at_once: bool = False) -> None:
        """Connect, and stay connected; ``at_once``: as if it had been connected for long."""
        self.replica.connect(self)
        if at_once:
            self._connected()
        else:
            self._connect()

    def retire(self) -> None:
        """Its endpoint is no longer in use: calls under way go on, and no more come."""
        self._retired = True

    def send(self, attempt: Attempt) -> None:
        """Take an attempt to the replica."""
        self._open[attempt] = None
        self._engine.after(self._delay, self.replica.arrive, attempt)

    def reply(self, attempt: Attempt, error: Failure | None) -> None:
        """Take an answer back to the client; None: OK."""
        self._engine.after(self._delay, attempt.end, error)

    def close(self, attempt: Attempt, *, cancel: bool) -> None:
        """An attempt is over for the client; ``cancel``: the replica does not know it yet."""
        self._open.pop(attempt, None)
        if cancel and self.connected:
            self._engine.after(self._delay, self.replica.forget, attempt)

    def reset(self) -> None:
        """The replica's process is gone: its system says so, after the delay of the network."""
        self._engine.after(self._delay, self._break, "the connection was reset")

    def frozen(self) -> None:
        """The replica is frozen: nothing shows it but the next keep-alive ping."""
        now = self._engine.now
        ping = self._phase + ((now - self._phase) // PING_EVERY + 1) * PING_EVERY
        self._engine.at(ping + PING_TIMEOUT, self._ping_lost, self.replica.freezes)

    def _ping_lost(self, freeze: int) -> None:
        replica = self.replica
        if replica.is_frozen and replica.freezes == freeze:
            self._break("keep-alive ping was not answered")

    def _break(self, details: str) -> None:
        if not self.connected:
            return
        self.connected = False
        lost, self._open = self._open, {}
        for attempt in lost:
            self.replica.forget(attempt, lost=True)
        self._on_state(False, None)
        for attempt in lost:
            attempt.end(Failure(StatusCode.UNAVAILABLE, details))
        self._engine.soon(self._connect)

    def _connect(self) -> None:
        if self._retired:
            return
        if self.replica.is_dead:
            took = 2 * self._delay
        elif self.replica.is_frozen:
            took = CONNECT_TIMEOUT
        else:
            self._engine.after(2 * self._delay, self._connected)
            return
        self._on_state(False, "can't connect: refused, unreachable or not answering")
        pause = self._backoff * (0.8 + 0.4 * self._random.random())
        self._backoff = min(self._backoff * _BACKOFF_GROWTH, MOST_BACKOFF)
        # gRPC counts the back-off from the start of the attempt.
        self._engine.after(max(took, pause), self._connect)

    def _connected(self) -> None:
        if self.replica.is_dead or self.replica.is_frozen:
            self._connect()
            return
        self.connected = True
        self._backoff = FIRST_BACKOFF
        self._on_state(True, None)
