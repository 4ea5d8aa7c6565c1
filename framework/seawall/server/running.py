"""Running services as the main job of a process: signals, logs, exit status."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from seawall.errors import ConfigError, SeawallError
from seawall.server import arenas
from seawall.server.event_loop.factory import loop_factory
from seawall.server.service import Service
from seawall.server.targets import load, name_of
from seawall.server.workers.plan import run_workers, workers_wanted
from seawall.telemetry.log_setup import set_up_logging
from seawall.telemetry.setup import set_up_metrics, set_up_tracing

if TYPE_CHECKING:
    from seawall.events import Listener
    from seawall.server.workers.link import Link
    from seawall.supervisor import Job

_MARGIN: Final = 5.0
"""Seconds over the grace, for ``on_stop`` and what is closed after it, before it is killed."""
_is_worker = False


def run_services(
    classes: Sequence[type[Service]],
    *,
    workers: int | str | None = None,
    loop: str | None = None,
    hang_timeout: float | None = None,
    on_event: Listener | None = None,
    **settings: Any,
) -> NoReturn:
    """Serve ``classes`` together on one port until SIGTERM or SIGINT; then exit.

    With ``workers`` (a number, or ``auto``; SEAWALL_WORKERS) in so many processes, each with a port
    of its own, under a supervisor: see docs/workers.md. ``hang_timeout`` (SEAWALL_HANG_TIMEOUT, 10
    seconds) is how long a worker may give no sign of life; ``on_event`` is told of each repair.
    ``loop``: ``auto``, ``asyncio`` or ``uvloop`` (SEAWALL_LOOP).

    Exit status: 0 after a stop in good order, 1 if the start failed, 130 at a second signal.
    """

    def main() -> int:
        if _is_worker:
            problem = "is called while a worker loads its module: put it below"
            raise ConfigError("", f"run() {problem} if __name__ == '__main__'")
        count = workers_wanted(workers)
        if count is None:
            return _serve(classes, settings, loop)
        return run_workers(
            [name_of(cls) for cls in classes], count, settings,
            loop=loop, hang_timeout=hang_timeout, on_event=on_event,
        )  # fmt: skip

    exit_with(main)


def run_job(job: Job, link: Link) -> NoReturn:
    """Be the worker that ``job`` describes."""
    global _is_worker
    _is_worker = True

    def main() -> int:
        try:
            classes = [load(target) for target in job.targets]
            return _serve(classes, job.settings, job.loop, link)
        finally:
            link.close()

    exit_with(main, f"worker {job.number}")


def exit_with(main: Callable[[], int], name: str = "") -> NoReturn:
    """Run the main job of this process and exit with what it returns.

    What the framework refuses is told in a line, without a traceback, and the status is 1.
    ``name`` stands in each line of the log.
    """
    try:
        set_up_logging(name)
        status = main()
    except SeawallError as error:
        sys.stderr.write(f"seawall: {error}\n")
        status = 1
    sys.exit(status)


def _serve(
    classes: Sequence[type[Service]],
    settings: dict[str, Any],
    loop: str | None,
    link: Link | None = None,
) -> int:
    arenas.keep_few()
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        name = classes[0].__name__.lower()
        set_up_tracing(name)
        set_up_metrics(name)
        return runner.run(_serve_until_asked(classes, settings, link))


async def _serve_until_asked(
    classes: Sequence[type[Service]], settings: dict[str, Any], link: Link | None
) -> int:
    """Returns the exit status: 1 if it had to stop by itself."""
    from seawall.server.lifecycle import Server  # what only supervises needs no server

    services = [cls(**settings) for cls in classes]
    server = Server(services, services[0]._settings)
    asked = asyncio.Event()
    _take_signals(asked, link)
    starting = asyncio.create_task(server.start())
    stop = asyncio.create_task(asked.wait())
    await asyncio.wait((starting, stop), return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        if link is not None:
            chosen = services[0]._settings.resolved()
            seconds = (chosen.grace or 0.0) + (chosen.settle or 0.0) + _MARGIN
            link.serving(server.address, seconds)
        broken = asyncio.create_task(server.broken.wait())
        await asyncio.wait((stop, broken), return_when=asyncio.FIRST_COMPLETED)
        broken.cancel()
    if link is not None:
        link.leaving()
    stop.cancel()
    await server.stop()
    await asyncio.wait((starting,))
    return int(server.broken.is_set())


def _take_signals(asked: asyncio.Event, link: Link | None) -> None:
    """A worker is asked to stop by SIGTERM, however often: who wants it sooner kills it, and tools
    that send a signal to a whole group send it twice."""

    def on_signal() -> None:
        if asked.is_set() and link is None:
            os._exit(130)  # whoever asks twice does not want to wait
        asked.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, on_signal)
    loop.add_signal_handler(signal.SIGINT, on_signal if link is None else _ignored)
    if link is not None:
        loop.add_signal_handler(signal.SIGHUP, _ignored)


def _ignored() -> None:
    pass
