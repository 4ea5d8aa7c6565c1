"""The supervisor: does what ``Fleet`` decides, with processes, signals and a clock."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from seawall.errors import ServiceError
from seawall.events import Listener
from seawall.supervisor.child import Child
from seawall.supervisor.events import log_event
from seawall.supervisor.fleet import Fleet
from seawall.supervisor.hang_up import HangUp
from seawall.supervisor.liveness import Liveness
from seawall.supervisor.probe import LIMIT, Probe
from seawall.supervisor.protocol import Job
from seawall.supervisor.signs import (
    Command,
    Exited,
    Finish,
    Hung,
    Launch,
    Launched,
    Leaving,
    Send,
    Serving,
    Sign,
    Wish,
    WorkerId,
)
from seawall.supervisor.timing import Timing
from seawall.telemetry.log import guarded

_log = logging.getLogger("seawall.supervisor")

MakeJob = Callable[[WorkerId, Path], Job]
"""The job of a process; the path is a directory of this supervisor's own, for sockets."""
_PLACE: Final = re.compile(r"[\w./-]{1,70}", re.ASCII)
"""Where sockets can be: a path has at most 107 bytes with the names of our directory and of the
socket, and gRPC reads it as part of a URL."""


class Supervisor:
    """Runs ``count`` workers until it is asked to stop."""

    def __init__(
        self,
        count: int,
        make_job: MakeJob,
        *,
        in_place: bool = False,
        timing: Timing | None = None,
        listener: Listener = log_event,
    ) -> None:
        """``in_place``: a worker's next process can't start before the one before has left, as
        both have the same port. ``listener`` is told of each repair, see ``events``."""
        self._count = count
        self._make_job = make_job
        self._in_place = in_place
        self._timing = timing or Timing()
        self._listener = guarded(listener)
        self._fleet: Fleet
        self._directory: Path
        self._finished: asyncio.Future[int]
        self._children: dict[WorkerId, Child] = {}
        self._unsent: dict[WorkerId, signal.Signals] = {}
        """Signals to processes that are being started."""
        self._lives: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> int:
        """Run the workers; SIGTERM and SIGINT stop them, SIGHUP replaces them one by one.

        Returns the status to exit with: 0 after a stop in good order, 1 if a worker could not
        start or did not leave well (2 for one that was told wrong arguments), 130 after a second
        signal. If it is cancelled it kills the workers.
        """
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        self._fleet = Fleet(
            self._count, in_place=self._in_place, timing=self._timing,
            clock=loop.time, listener=self._listener,
        )  # fmt: skip
        with _own_directory() as self._directory, self._signals(loop):
            try:
                self._perform(self._fleet.begin())
                return await self._finished
            finally:
                await self._end()

    def ask(self, wish: Wish) -> None:
        """As a signal does."""
        self._hear(wish)

    def _hear(self, sign: Sign) -> None:
        self._perform(self._fleet.hear(sign))

    def _wake(self) -> None:
        self._perform(self._fleet.wake())

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Launch(worker):
                    life = asyncio.create_task(self._live(worker), name=f"worker {worker.number}")
                    self._lives.add(life)
                    life.add_done_callback(self._lives.discard)
                case Send(worker, number):
                    self._send(worker, number)
                case Finish(status):
                    if not self._finished.done():
                        self._finished.set_result(status)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._fleet.due()
        if due is not None and not self._finished.done():
            self._timer = asyncio.get_running_loop().call_at(due, self._wake)

    def _send(self, worker: WorkerId, number: signal.Signals) -> None:
        child = self._children.get(worker)
        if child is None:
            self._unsent[worker] = number
        else:
            child.send(number)

    async def _live(self, worker: WorkerId) -> None:
        """One process, from its start to its end."""
        sign = Exited(worker, None, "the supervisor failed; its log says why")
        try:
            sign = Exited(worker, await self._run(worker))
        except OSError as error:
            sign = Exited(worker, None, f"{error.strerror or error}")
        except Exception:
            _log.exception("worker %d could not be looked after", worker.number)
        self._hear(sign)

    async def _run(self, worker: WorkerId) -> int:
        job = self._make_job(worker, self._directory)
        child = await Child.start(job)
        self._children[worker] = child
        try:
            self._hear(Launched(worker, child.pid))
            if (number := self._unsent.pop(worker, None)) is not None:
                child.send(number)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(worker, child, job.health))
                status = await child.wait()
                watching.cancel()
            return status
        finally:
            del self._children[worker]
            await child.end()

    async def _watch(self, worker: WorkerId, child: Child, health: str) -> None:
        """Take what a process says, and ask whether it lives while it serves."""
        asking: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            async for message in child.messages():
                match message:
                    case {"serving": str(address), "stop_within": float() | int() as seconds}:
                        self._hear(Serving(worker, address, float(seconds)))
                        asking = asking or group.create_task(self._ask(worker, health))
                    case {"leaving": True}:
                        if asking is not None:  # else gRPC logs that the connection breaks
                            asking.cancel()
                        self._hear(Leaving(worker))

    async def _ask(self, worker: WorkerId, health: str) -> None:
        """Ask again and again whether it lives; one that hangs is told of once."""
        loop, interval = asyncio.get_running_loop(), self._timing.interval
        judge = Liveness(self._timing, LIMIT)
        async with Probe(health) as probe:
            while True:
                asked = loop.time()
                answer = await probe.ask()
                silent = judge.heard(asked, loop.time(), answer)
                if silent is not None:
                    self._hear(Hung(worker, silent))
                    return
                await asyncio.sleep(interval)

    @contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        loop.add_signal_handler(signal.SIGHUP, HangUp(self.ask))
        loop.add_signal_handler(signal.SIGTERM, self.ask, Wish.STOP)
        loop.add_signal_handler(signal.SIGINT, self.ask, Wish.STOP)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _end(self) -> None:
        """Leave nothing behind, however it came to this."""
        self._finished.cancel()
        if self._timer is not None:
            self._timer.cancel()
        lives = tuple(self._lives)
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


@contextmanager
def _own_directory() -> Iterator[Path]:
    """A new directory that is this user's alone, with a path short enough for sockets in it."""
    place = tempfile.gettempdir()
    if not _PLACE.fullmatch(place):
        place = "/tmp"
    try:
        made = tempfile.mkdtemp(prefix="seawall-", dir=place)
    except OSError as error:
        problem = f"can't make a directory for the workers' sockets in {place}: {error.strerror}"
        raise ServiceError(f"{problem}; name one that can be written to: TMPDIR=/path") from None
    try:
        yield Path(made)
    finally:
        with suppress(OSError):
            shutil.rmtree(made)
