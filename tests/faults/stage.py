"""Where a row is played: etcd, a fleet under load, a witness, and somebody who makes changes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Self

import seawall
from seawall.events import RegistrationRestored
from seawall.testing.etcd import EtcdFailed, EtcdServer, free_ports
from tests.faults.announcer import SERVICE as PROBE
from tests.faults.announcer import Announcer
from tests.faults.ledger import Ledger, Lists, difference
from tests.faults.scenario import Result, Scenario
from tests.faults.sockets import remote_ports
from tests.faults.watcher import Witness
from tests.fleet import Fleet, Load
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.registry.etcd_fixtures import Proxy

ECHO = "seawall.tests.Echo"
SERVICES = 2
RATE = 100
LIMIT = 30.0
"""Seconds that anything may take which has no limit of its own."""
AT_ONCE = 5.0
"""Seconds in which a change has to be seen while nothing is wrong, on a machine that is busy."""


class Stage:
    """Everything that a row needs, ``async with``."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.result = Result(name=scenario.name, fault=scenario.fault, within=scenario.within)
        self.ledger = Ledger()
        self.announcers: EtcdServer
        """The member that the announcer was connected to at first."""
        self.begun = self.ended = 0.0
        self._directory = directory
        self._stack = AsyncExitStack()
        self._log = _Log()
        self._in_etcd: Lists = {}
        self._wrong: list[str] = []
        self._calls_before = 0

    async def __aenter__(self) -> Self:
        # As in production, but not where the user's own are.
        os.environ["SEAWALL_SNAPSHOTS"] = str(self._directory / "snapshots")
        logging.basicConfig(level=logging.INFO, handlers=[self._log])
        try:
            async with asyncio.timeout(2 * LIMIT):
                await self._build()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.result.story = self._story()
        await self._stack.aclose()

    # The acts, in their order

    async def before(self) -> None:
        """Changes while all is well; the last one is made right before the fault."""
        held = await self.announcer.add()
        leaves = await self.announcer.add()
        assert held and leaves, self.announcer.refusals
        await self.seen()
        await self.announcer.change(held)
        await self.announcer.remove(leaves)
        await self.seen()
        await self.announcer.change(held)

    @asynccontextmanager
    async def fault(self) -> AsyncIterator[None]:
        """The fault lasts as long as the block does. Changes are made all the while."""
        async with self.announcer.churn(self.scenario.pause):
            calls, cpu = self.load.done, self.witness.cpu()
            self.begun = time.monotonic()
            yield
            self.ended = time.monotonic()
            self.result.duration = self.ended - self.begun
            self.result.cpu = (self.witness.cpu() - cpu) / self.result.duration
            self._calls_before = calls

    async def whole(self) -> None:
        """Wait until etcd, by its own client, and the witness list what they should."""
        try:
            async with asyncio.timeout(LIMIT):
                while not await self._etcd_is_whole():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            problem = difference(self.ledger.expected(), self._in_etcd)
            raise AssertionError(f"after {LIMIT:g} s etcd does not list: {problem}") from None
        await self.seen(LIMIT)
        self.result.whole = time.monotonic() - self.ended

    async def after(self) -> None:
        """Changes when all should be well again, each of which must be seen at once."""
        held = await self.announcer.add()
        assert held, self.announcer.refusals
        await self.seen()
        await self.announcer.change(held)
        await self.seen()
        await self.announcer.remove(held)
        await self.seen()
        await self.load.more(RATE // 2)

    async def seen(self, within: float = AT_ONCE) -> None:
        """Return when the witness knows all that was announced."""
        try:
            await self.witness.sees(self.ledger.expected(), within)
        except TimeoutError:
            problem = difference(self.ledger.expected(), self.witness.lists)
            raise AssertionError(
                f"after {within:g} s the witness does not list: {problem}"
            ) from None

    # What faults use

    async def hold(self, seconds: float) -> None:
        """The fault's own duration."""
        await asyncio.sleep(seconds)

    @property
    def theirs(self) -> EtcdServer:
        """The member that the witness is connected to."""
        return self._member_of(self.witness.pid)

    @property
    def others(self) -> list[EtcdServer]:
        """The members that the witness is not connected to."""
        theirs = self.theirs
        return [member for member in self.etcd.members if member is not theirs]

    def told(self, event: str) -> list[str]:
        """What the events of this class said that the witness was told."""
        return [str(facts) for _, name, facts in self.witness.told if name == event]

    @property
    def restored(self) -> list[str]:
        """Who had to put its registration again."""
        services = [line for line in self.fleet.log if "RegistrationRestored" in line]
        own = [repr(e) for _, e in self.announcer.events if isinstance(e, RegistrationRestored)]
        return services + own

    # Inside

    async def _build(self) -> None:
        scenario, enter = self.scenario, self._stack.enter_async_context
        self.etcd = await scenario.etcd(self._directory)
        self._stack.push_async_callback(self.etcd.close)
        direct = theirs = self.etcd.url(scenario.ttl)
        if scenario.proxied:
            self.proxy = Proxy(self.etcd.members[0].client_port)
            (self.proxy.port,) = free_ports(1)
            await enter(self.proxy)
            theirs = self.etcd.url(scenario.ttl, [self.proxy.address])
        self.fleet = await enter(Fleet(theirs))
        self.witness = await enter(Witness(theirs, [ECHO, PROBE]))
        await asyncio.gather(*(self.fleet.start() for _ in range(SERVICES)))
        await self._note_services()
        self.announcer = Announcer(direct, self.ledger)
        self._stack.push_async_callback(self.announcer.close)
        await self.announcer.add()
        # Before the client is there, this process has no other connection to etcd.
        self.announcers = self._member_of(os.getpid())
        channel = await enter(seawall.connect(direct))
        echo = pb_grpc.EchoStub(channel)  # type: ignore[no-untyped-call]
        self.load = await enter(Load(echo.Say, RATE))
        await self.load.more(RATE // 2)
        await self.seen()

    def _member_of(self, pid: int) -> EtcdServer:
        """The member, or the one behind the proxy, that a process is connected to."""
        if len(self.etcd.members) == 1:
            return self.etcd.members[0]
        ports = remote_ports(pid)
        (found,) = [member for member in self.etcd.members if member.client_port in ports]
        return found

    async def _note_services(self) -> None:
        """What the services announce by themselves has to stay as it is."""
        while len(listed := (await self.etcd.entries()).get(ECHO, {})) < SERVICES:
            await asyncio.sleep(0.1)
        for id_, state in listed.items():
            self.ledger.plan(ECHO, id_, state)

    async def _etcd_is_whole(self) -> bool:
        try:
            self._in_etcd = await self.etcd.entries()
        except (EtcdFailed, TimeoutExpired, ValueError, KeyError):
            return False  # it does not answer yet, or somebody's rubbish is still there
        return not difference(self.ledger.expected(), self._in_etcd)

    def conclude(self) -> None:
        """Put into the result what the row as a whole has shown."""
        result, judged = self.result, self.ledger.judge(self.witness.sightings, self.begun)
        result.calls = self.load.done - self._calls_before
        result.failed = len(self.load.failures)
        result.lost, result.twice = len(judged.lost), len(judged.twice)
        result.problems += self._problems()
        self._wrong = [*judged.lost, *judged.twice, *self.load.failures[:3]]

    def _problems(self) -> list[str]:
        problems = list(self.scenario.check(self))
        if not self.scenario.restores and self.restored:
            problems.append(f"a lease was lost while most of etcd was well: {self.restored[0]}")
        problems += [
            f"service {child.pid} ended by itself, exit status {child.returncode}"
            for child in self.fleet.running
            if child.returncode is not None
        ]
        logs = [*self.fleet.log, *self.witness.errors, *self._log.lines]
        problems += [f"logged: {line}" for line in logs if "ERROR" in line or "Traceback" in line]
        return problems

    def _story(self) -> list[str]:
        """What happened, by the second since the fault began."""
        moments = [(self.begun, "the fault begins")] if self.begun else []
        moments += [(self.ended, "the fault ends")] if self.ended else []
        moments += [
            (at, f"the witness was told {name} {facts}") for at, name, facts in self.witness.told
        ]
        moments += [(at, f"the announcer was told {event}") for at, event in self.announcer.events]
        story = [f"{at - self.begun:7.2f} {what}" for at, what in sorted(moments)]
        for whose, lines in (
            ("wrong", self._wrong),
            ("refused", self.announcer.refusals),
            ("services", self.fleet.log),
            ("client", self._log.lines),
            ("witness", self.witness.errors),
        ):
            story += [f"{whose}: {line}" for line in lines[-20:]]
        return story


class _Log(logging.Handler):
    """What this process logs, which is what the loaded client has to say."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
