"""The script of the demo: what is done to the fleet, and when."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from services import store
from services.demo import SIDES
from services.demo.fleet import DemoError, Fleet, Member
from services.demo.report import Window
from services.pb.chaos_pb2 import Fault

FULL: Final = 42.0
"""Seconds that the whole script takes at its own pace."""
SLOWER: Final = 100.0
UNCONFIRMED: Final = 0.02
"""Seconds for which the bank has not confirmed a charge for certain (``services/payments.py``)."""
CONFIRMED: Final = 0.06
"""Seconds after which it has."""
PATIENCE: Final = 30.0
"""Seconds that a recovery may take before the demo gives up."""


class Server(Protocol):
    """The registry's process."""

    def kill(self) -> object: ...
    def start(self) -> object: ...


@dataclass
class Stage:
    """What the faults act on."""

    fleet: Fleet
    server: Server | None
    """None: the registry has no process of its own."""
    pace: float
    """1 = as in ``FULL``; shorter demos hold each fault for less."""
    start: float
    """Of the load, on the monotonic clock."""
    say: Callable[[str, str], None]
    """Told each fault's name and each thing that happens."""
    windows: list[Window] = field(default_factory=list)
    victim: Member | None = None
    """Whom the current fault is about, if it is one instance."""

    async def hold(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.pace)


Act = Callable[[Stage], Awaitable[None]]


async def calm(stage: Stage) -> None:
    await stage.hold(2)


async def killed(stage: Stage) -> None:
    found = await _in_mid_charge(stage)
    member = stage.victim = found or stage.fleet.of("payments")[0]
    member.restart_delay = 3 * stage.pace
    member.send(signal.SIGKILL)
    how = "in the middle of a charge of each side" if found else "at a moment like any other"
    stage.say("killed", f"kill -9 {member.name}, {how}")
    await asyncio.sleep(member.restart_delay)
    await member.up()
    stage.say("killed", f"{member.name} is back on {member.address}")


async def _in_mid_charge(stage: Stage) -> Member | None:
    """The payments instance that holds one charge of each side, written down but not confirmed:
    the worst moment to die, and the same one for both. None if there was none within 5 s."""
    members = {member.name: member for member in stage.fleet.of("payments")}
    held: deque[tuple[float, str, str]] = deque()
    with (stage.fleet.directory / store.CHARGES).open("a+", encoding="utf-8") as book:
        book.seek(0, os.SEEK_END)
        until = time.monotonic() + 5
        while (now := time.monotonic()) < until:
            held.extend((now, *_writer_and_side(line)) for line in book)
            while held and held[0][0] < now - CONFIRMED:
                held.popleft()
            for name, member in members.items():
                charges = [(side, now - seen) for seen, writer, side in held if writer == name]
                fresh = all(age < UNCONFIRMED for _, age in charges)
                if fresh and sorted(side for side, _ in charges) == list(SIDES):
                    return member
            await asyncio.sleep(0.005)
    return None


def _writer_and_side(line: str) -> tuple[str, str]:
    order, _, writer = line.split()
    return writer, order.partition("-")[0]


async def frozen(stage: Stage) -> None:
    member = stage.fleet.of("inventory")[0]
    stage.say("frozen", f"SIGSTOP {member.name}: its connections stay up, nobody answers")
    member.send(signal.SIGSTOP)
    try:
        await stage.hold(5)
    finally:
        member.send(signal.SIGCONT)
    stage.say("frozen", f"SIGCONT {member.name}")
    await stage.hold(0.5)


async def slow(stage: Stage) -> None:
    member = stage.fleet.of("recommendations")[0]
    stage.say("slow", f"{member.name} takes {SLOWER:.0f} times as long over everything")
    await _ill([member], Fault(slowness=SLOWER), stage, 4.5)


async def failing(stage: Stage) -> None:
    member = stage.fleet.of("inventory")[1]
    stage.say("failing", f"{member.name} answers UNAVAILABLE to everything")
    await _ill([member], Fault(unavailable=True), stage, 4.5)


async def gone(stage: Stage) -> None:
    members = stage.fleet.of("recommendations")
    stage.say("gone", "all of recommendations answer UNAVAILABLE")
    await _ill(members, Fault(unavailable=True), stage, 2)


async def _ill(members: list[Member], fault: Fault, stage: Stage, seconds: float) -> None:
    await asyncio.gather(*(member.set(fault) for member in members))
    try:
        await stage.hold(seconds)
    finally:
        await asyncio.gather(*(member.set(Fault()) for member in members))
    await stage.hold(0.5)


async def rolling(stage: Stage) -> None:
    for member in stage.fleet.of("payments"):
        stage.victim = member
        stage.say("rolling", f"SIGTERM {member.name}; its successor takes the same port")
        await stage.fleet.replaced(member)
        await member.up()
    await stage.hold(0.5)


async def unregistered(stage: Stage) -> None:
    if stage.server is None:
        stage.say("registry down", "skipped: this registry has no process of its own")
        return
    stage.say("registry down", "kill -9 of etcd")
    stage.server.kill()
    await stage.hold(10)
    await asyncio.to_thread(stage.server.start)
    stage.say("registry down", "etcd is back")
    await stage.fleet.listed()
    stage.say("registry down", "it lists every instance")
    await stage.hold(1)


SCRIPT: Final[dict[str, Act]] = {
    "calm": calm,
    "killed": killed,
    "frozen": frozen,
    "slow": slow,
    "failing": failing,
    "gone": gone,
    "rolling": rolling,
    "registry down": unregistered,
}


async def perform(stage: Stage) -> None:
    """Go through the script, one fault after the other. Raises ``DemoError`` if the fleet does
    not recover from one of them."""
    for name, act in SCRIPT.items():
        begin, stage.victim = time.monotonic() - stage.start, None
        try:
            async with asyncio.timeout(PATIENCE + FULL * stage.pace):
                await act(stage)
        except TimeoutError:
            words = stage.victim.last_words() if stage.victim else ""
            raise DemoError(f"the fleet did not recover from: {name}\n{words}") from None
        stage.windows.append(Window(name, begin, time.monotonic() - stage.start))
