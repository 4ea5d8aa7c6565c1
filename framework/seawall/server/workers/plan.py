"""Serving in several processes: how many, and what each of them is told."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from seawall.errors import ConfigError
from seawall.events import Listener
from seawall.server.event_loop.factory import loop_factory
from seawall.server.event_loop.watch import WEDGED_AFTER
from seawall.server.settings import Settings
from seawall.supervisor import Job, Supervisor, Timing, WorkerId
from seawall.supervisor.cores import cores
from seawall.supervisor.events import log_event

_log = logging.getLogger("seawall.supervisor")

AUTO: Final = "auto"
MOST: Final = 512
"""Workers of one command. More than a machine has cores for is a slip of the finger."""
COUNTED: Final = ("metrics_address", "health_address")
"""Settings with an address that only one process can listen on."""
_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
_PORT: Final = re.compile(r":(\d+)$")


def workers_wanted(given: int | str | None) -> int | None:
    """How many processes are asked for: ``workers``, else SEAWALL_WORKERS; ``auto`` is one for
    each core. None = none but this one. Raises ``ConfigError``."""
    text = str(os.environ.get("SEAWALL_WORKERS", "") if given is None else given).strip().lower()
    if not text:
        return None
    if text == AUTO:
        return min(cores(), MOST)
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= MOST:
        raise ConfigError("workers", f"must be a number from 1 to {MOST}, or {AUTO}, not {text!r}")
    return count


def run_workers(
    targets: Sequence[str],
    count: int,
    settings: Mapping[str, Any],
    *,
    loop: str | None = None,
    hang_timeout: float | None = None,
    on_event: Listener | None = None,
) -> int:
    """Serve ``targets`` in ``count`` processes until SIGTERM or SIGINT; returns the exit status.

    See ``seawall.supervisor``. Raises ``ConfigError`` for what can be seen to be wrong from here;
    what a worker finds to be wrong it says itself, and the status is then its own.
    """
    loop_factory(loop)  # raises what each worker would
    plan = Plan(targets, count, settings, loop or "")
    hang = _seconds("SEAWALL_HANG_TIMEOUT", hang_timeout, Timing().hang)
    timing = Timing(hang=hang, wedged=WEDGED_AFTER)
    supervisor = Supervisor(
        count, plan.job, in_place=plan.in_place, timing=timing, listener=on_event or log_event
    )
    with _metrics(plan.own_metrics_address):
        return asyncio.run(supervisor.run())


@contextmanager
def _metrics(address: str | None) -> Iterator[None]:
    """Serve the supervisor's own metrics, which tell of its repairs."""
    if address is None:
        yield
        return
    from seawall.telemetry.endpoint import serve_metrics

    endpoint = serve_metrics(address)
    _log.info("the supervisor's metrics are at http://%s/metrics", endpoint.address)
    try:
        yield
    finally:
        endpoint.close()


class Plan:
    """What each process is told."""

    def __init__(
        self, targets: Sequence[str], count: int, settings: Mapping[str, Any], loop: str = ""
    ) -> None:
        self._targets = tuple(targets)
        self._count = count
        self._loop = loop
        self._settings = {name: _portable(name, value) for name, value in settings.items()}
        known = {k: v for k, v in settings.items() if k in Settings.__match_args__}
        resolved = Settings(**known).resolved()  # others: the class knows them, or refuses them
        self._port = resolved.port or 0
        self._addresses: dict[str, str] = {
            name: address for name in COUNTED if (address := getattr(resolved, name))
        }
        self._check(resolved.advertise)

    @property
    def in_place(self) -> bool:
        """Whether a worker's next process needs a port of the one before."""
        ports = [_port_of(address) for address in self._addresses.values()]
        return self._port != 0 or any(ports)

    @property
    def own_metrics_address(self) -> str | None:
        """Where the supervisor's own metrics are served: a port above those of its workers."""
        address = self._addresses.get("metrics_address")
        return None if address is None else counted(address, self._count + 1)

    def job(self, worker: WorkerId, directory: Path) -> Job:
        """The job of one process; it is asked for its life at a socket in ``directory``, unless
        the settings name an address for that."""
        number, generation = worker
        settings = dict(self._settings)
        settings["instance_id"] = self._instance_id(worker)
        if self._port:
            settings["port"] = self._port + number - 1
        for name, address in self._addresses.items():
            settings[name] = counted(address, number)
        path = directory / f"{number}-{generation}.sock"
        health = settings.setdefault("health_address", f"unix:{path}")
        return Job(
            number=number,
            targets=self._targets,
            settings=settings,
            path=tuple(sys.path),
            loop=self._loop,
            directory=str(directory),
            health=_dialled(health),
        )

    def _instance_id(self, worker: WorkerId) -> str:
        """In a rolling restart a worker's old and new process are there at the same time."""
        if given := self._settings.get("instance_id"):
            return f"{given}-{worker.number}-{worker.generation}"
        return f"{socket.gethostname()}-{worker.number}-{uuid.uuid4().hex[:8]}"

    def _check(self, advertise: str | None) -> None:
        last = self._port + self._count - 1
        if self._port and last > 65535:
            raise ConfigError(
                "port", f"{self._count} workers from port {self._port} on need port {last}: "
                "65535 is the last one",
            )  # fmt: skip
        if self._count > 1 and advertise and names_port(advertise):
            raise ConfigError(
                "advertise", f"{advertise!r} is one address and there are {self._count} workers: "
                "name the host alone, and each is found there at its own port",
            )  # fmt: skip
        for name, address in self._addresses.items():
            if self._count > 1 and not _PORT.search(address):
                raise ConfigError(
                    name, f"{address!r} is one address and there are {self._count} workers: give "
                    "host:port, and each adds its number to that of the first",
                )  # fmt: skip


def counted(address: str, number: int) -> str:
    """The address of worker ``number``: that of the first, with the port that much higher."""
    port = _port_of(address)
    return _PORT.sub(f":{port + number - 1}", address) if port else address


def names_port(advertise: str) -> bool:
    """Whether it says where to dial to the last digit, as ``host:port`` and ``unix:`` do."""
    if advertise.startswith("unix:"):
        return True
    bare_ipv6 = advertise.count(":") > 1 and not advertise.startswith("[")
    return not bare_ipv6 and _PORT.search(advertise) is not None


def _port_of(address: str) -> int:
    """0 if it names none."""
    found = None if address.startswith("unix:") else _PORT.search(address)
    return int(found[1]) if found else 0


def _dialled(address: str) -> str:
    """The gRPC target at which who listens on ``address`` is reached from this machine."""
    if address.startswith("unix:"):
        return address
    host, _, port = address.rpartition(":")
    return f"{_LOOPBACK.get(host, host)}:{port}"


def _portable(name: str, value: object) -> Any:
    """``value`` as another process can be told it."""
    match value:
        case None | str() | bool() | int() | float():
            return value
        case Path():
            return str(value)
        case Mapping():
            return {str(key): _portable(name, item) for key, item in value.items()}
        case list() | tuple():
            return [_portable(name, item) for item in value]
    raise ConfigError(
        name,
        f"{value!r} can't be told to other processes: "
        + ("give its URL" if name == "registry" else "set it in the __init__ of the class"),
    )


def _seconds(variable: str, given: float | None, default: float) -> float:
    text = str(os.environ.get(variable, "") if given is None else given).strip()
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 86400.0:
        raise ConfigError(variable, f"must be seconds, from 0.5 to 86400, not {text!r}")
    return seconds
