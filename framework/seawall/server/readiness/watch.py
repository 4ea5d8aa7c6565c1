"""Follows what a service requires, asks its own check, and has it stand aside or take calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final

from seawall.call import JSON, Endpoint, Method
from seawall.clock import Clock
from seawall.errors import RegistryError
from seawall.events import Listener, ServiceNotReady, ServiceReady
from seawall.server.readiness.standing import WAITS_FOR, Gate, Standing, lacks
from seawall.transport.discovery import Discovery

_log = logging.getLogger("seawall.server")

CHECK_EVERY: Final = 1.0
"""Seconds from an answer of a service's own check to the next question."""
CHECK_TIMEOUT: Final = 2.0
"""Seconds for an answer; none in time is a no. Far more than a ping of a database takes."""
_ENDING: Final = 1.0

Check = Callable[[], Awaitable[object]]


class _Seen:
    """An endpoint as ``standing`` looks at it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.ready = endpoint.ready
        self.paused = endpoint.paused
        self.waits_for: JSON = endpoint.instance.metadata.get(WAITS_FOR)


class ReadyWatch:
    """Keeps one service's standing in line with what it requires and with its own check.

    ``stand`` makes a standing known; the part of it that is the user's is none of this.
    """

    def __init__(
        self,
        name: str,
        own: Collection[str],
        required: Sequence[Discovery],
        check: Check | None,
        stand: Callable[[Callable[[Standing], Standing]], Awaitable[None]],
        listener: Listener,
        clock: Clock = time.monotonic,
    ) -> None:
        self._name = name
        self._own = own
        self._required = required
        self._check = check
        self._stand = stand
        self._listener = listener
        self._clock = clock
        self._gate = Gate(ready=True)
        self._known = Standing()
        self._problem = ""
        self._raised: type[Exception] | None = None
        self._away_since = 0.0
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Decide for the first time, when nobody knows of the service yet: what is missing now
        counts at once."""
        if self._check is not None:
            await self._ask(self._check)
        now = self._look()
        self._gate = Gate(now.ready)
        if not now.ready:
            await self._turn(now)

    def start(self) -> None:
        """Follow it from now on."""
        self._tasks.append(asyncio.create_task(self._follow(), name=f"readiness of {self._name}"))
        if self._check is not None:
            poll = self._poll(self._check)
            self._tasks.append(asyncio.create_task(poll, name=f"check of {self._name}"))

    async def close(self) -> None:
        """Leave it as it is."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:  # a check of the user's may not let itself be cancelled
            await asyncio.wait(tasks, timeout=_ENDING)

    def _look(self) -> Standing:
        required = [
            (discovery.service, [_Seen(endpoint) for endpoint in discovery.group.endpoints])
            for discovery in self._required
        ]
        return Standing(lacks=lacks(required, self._own), problem=self._problem)

    async def _follow(self) -> None:
        try:
            while True:
                self._news.clear()
                for discovery in self._required:
                    discovery.waiting.wait(self, self._news.set)
                seen, now = self._look(), self._clock()
                if self._gate.see(seen.ready, now) is seen.ready and seen != self._known:
                    await self._turn(seen)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._gate.due(now)):
                        await self._news.wait()
        finally:
            for discovery in self._required:
                discovery.waiting.unwait(self)

    async def _turn(self, seen: Standing) -> None:
        """It is ready now, or isn't, or isn't for another reason."""
        before, self._known = self._known, seen
        self._tell(before, seen)
        try:
            await self._stand(lambda now: now.changed(lacks=seen.lacks, problem=seen.problem))
        except RegistryError as error:
            # It stands all the same, and is announced as soon as the registry is back.
            _log.debug("%s: the registry does not hear of its readiness: %s", self._name, error)
        except Exception:  # a registry of the user's own
            _log.exception("%s: the registry failed at its readiness", self._name)

    def _tell(self, before: Standing, seen: Standing) -> None:
        if seen.ready:
            away = self._clock() - self._away_since
            self._listener(ServiceReady(self._name, away))
            return
        if before.ready:
            self._away_since = self._clock()
        # A check may give another reason each time, with a number in it: that is no news.
        if before.lacks != seen.lacks or bool(before.problem) != bool(seen.problem):
            self._listener(ServiceNotReady(self._name, seen.reason))

    async def _poll(self, check: Check) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            before = self._problem
            await self._ask(check)
            if self._problem != before:
                self._news.set()

    async def _ask(self, check: Check) -> None:
        raised: type[Exception] | None = None
        limit = asyncio.timeout(CHECK_TIMEOUT)
        try:
            async with limit:
                self._problem = _problem(await check())
        except Exception as error:
            if limit.expired():
                self._problem = f"is_ready() took longer than {CHECK_TIMEOUT:g} s"
            else:
                raised, self._problem = type(error), f"is_ready() raised {error!r}"
                if raised is not self._raised:
                    _log.warning("is_ready() of %s raised", self._name, exc_info=error)
        self._raised = raised


def _problem(answer: object) -> str:
    """What an answer of ``is_ready`` means: empty = ready."""
    if answer is True:
        return ""
    if isinstance(answer, str) and answer:
        return answer
    if answer is False:
        return "is_ready() says no"
    return f"is_ready() returned {answer!r}: it must be True, False or a reason why not"


def services_of(make: Callable[[Any], Any], channel: Any) -> set[str]:
    """The proto names of the services that a stub calls. ``make`` makes it on a channel."""
    noting = _Noting(channel)
    make(noting)
    return noting.services


class _Noting:
    """A channel that notes whose methods are asked of it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.services: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._channel, name)
        if not name.startswith(("unary_", "stream_")):
            return found

        def note(path: str, *more: Any, **named: Any) -> Any:
            self.services.add(Method.from_path(path).service)
            return found(path, *more, **named)

        return note
