"""Service configs that change while calls run, well or badly."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import seawall
from seawall import live_config
from seawall.balancer import config as balancers
from seawall.config import ServiceConfig, load_service_config
from seawall.config.files import LARGEST
from seawall.errors import ConfigError, RegistryError
from seawall.events import ConfigRefused, ConfigReplaced
from seawall.live_config import follow_file, follow_registry
from seawall.registry.memory import MemoryRegistry
from tests.echo import EchoService
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["Echo"].full_name
REQUEST = pb.EchoRequest(text="hello")


def ratio(value: float) -> str:
    """A document that says one thing."""
    return json.dumps({"seawall": {"retryBudget": {"ratio": value}}})


def put(path: Path, text: str) -> None:
    """Have ``path`` say ``text`` from one moment to the next."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


class Followed:
    """A file that is followed, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.heard = path, Heard()
        self.adopted: list[ServiceConfig] = []

    async def __aenter__(self) -> Followed:
        known = load_service_config(self.path)
        work = follow_file(self.path, known, self.adopted.append, self.heard)
        self._task = asyncio.create_task(work)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        assert self._task.cancelled(), "it ended by itself"

    @property
    def ratios(self) -> list[float]:
        return [config.budget.ratio for config in self.adopted]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(live_config, "LOOK_EVERY", 0.01)
    path = tmp_path / "policy.json"
    path.write_text(ratio(0.5))
    return path


def gone(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def large(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(100_000_000)


def says(text: str) -> Callable[[Path], None]:
    return lambda path: put(path, text)


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{}")


def remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


BAD = {
    "gone": (gone, "can't be read: No such file"),
    "a directory": (directory, "is not a regular file"),
    "a pipe": (pipe, "is not a regular file"),
    "a device": (device, "is not a regular file"),
    "unreadable": (loop, "can't be read"),
    "large": (large, f"more than {LARGEST} bytes"),
    "cut off": (says(ratio(0.2)[:20]), "not JSON"),
    "empty": (says(""), "must be a JSON object"),
    "deep": (says('{"a":' * 100_000), "not JSON"),
    "double": (says('{"seawall": {}, "seawall": {}}'), "twice"),
    "no number": (says(ratio(float("nan"))), "NaN"),
    "binary": (binary, "not UTF-8"),
    "a path": (says("/etc/passwd"), "must be a JSON object"),
}


@pytest.mark.parametrize(("spoil", "problem"), BAD.values(), ids=BAD)
async def test_what_is_no_good_is_told_of_once_and_the_last_good_one_stays(
    file: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    async with Followed(file) as followed:
        spoil(file)
        heard = followed.heard
        await heard.until(lambda: any(problem in e.problem for e in heard.of(ConfigRefused)))
        assert followed.adopted == []
        remove(file)
        put(file, ratio(0.25))
        await heard.told(ConfigReplaced)
        assert followed.ratios == [0.25]
        problems = [event.problem for event in heard.of(ConfigRefused)]
        assert len(problems) == len(set(problems)) and max(map(len, problems)) < 400


async def test_the_old_one_again_is_told_of_and_changes_nothing(file: Path) -> None:
    async with Followed(file) as followed:
        put(file, "{")
        await followed.heard.told(ConfigRefused)
        put(file, ratio(0.5))
        await followed.heard.told(ConfigReplaced)
        put(file, "{")
        await followed.heard.told(ConfigRefused, 2)
        assert followed.adopted == []


async def test_a_change_that_its_times_and_its_size_do_not_tell_is_found(file: Path) -> None:
    async with Followed(file) as followed:
        before = file.stat()
        with file.open("r+") as opened:
            opened.write(ratio(0.6))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.stat().st_size == before.st_size
        await followed.heard.told(ConfigReplaced)
        assert followed.ratios == [0.6]


async def test_another_lay_out_of_the_same_is_no_change(file: Path) -> None:
    async with Followed(file) as followed:
        put(file, json.dumps(json.loads(ratio(0.5)), indent=4))
        await asyncio.sleep(0.05)  # nothing to wait for: nothing is to happen
        put(file, ratio(0.7))
        await followed.heard.told(ConfigReplaced)
        assert followed.ratios == [0.7]


async def test_what_changed_before_the_first_stub_was_made_counts(file: Path, registry) -> None:
    heard = Heard()
    async with seawall.connect(registry, service_config=file, listener=heard) as channel:
        put(file, ratio(0.125))
        pb_grpc.EchoStub(channel)
        await heard.told(ConfigReplaced)
        (discovery,) = channel.discoveries
        assert discovery.pipeline._config.budget.ratio == 0.125


def test_a_pipe_is_refused_when_the_channel_is_made(tmp_path: Path, registry) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="is not a regular file"):
        seawall.connect(registry, service_config=pipe)


def test_a_disk_that_hangs_does_not_keep_the_program(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, over = threading.Event(), threading.Event()

    def hangs(path: Path) -> str:
        reading.set()
        over.wait()
        return ""

    monkeypatch.setattr(live_config, "text_of", hangs)

    async def main() -> None:
        work = follow_file(file, ServiceConfig(), lambda config: None, Heard())
        following = asyncio.create_task(work)
        await asyncio.to_thread(reading.wait)
        following.cancel()

    try:
        asyncio.run(main())
    finally:
        over.set()


class Moody:
    """A balancer policy of the user's own: it can't be made."""

    name = "moody"

    def build(self, random: Any, clock: Any, zone: str = "") -> Any:
        raise RuntimeError("not today")


async def test_a_balancer_that_cannot_be_made_is_refused_before_anything_changed(
    file: Path, start, registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(balancers._BUILT_IN, "moody", lambda fields: Moody())  # type: ignore[index]

    def unreadable(fields: Any) -> Any:
        raise TypeError("what is this?")

    monkeypatch.setitem(balancers._BUILT_IN, "worse", unreadable)  # type: ignore[index]
    service, heard = await start(), Heard()
    async with seawall.connect(registry, service_config=file, listener=heard) as channel:
        echo = pb_grpc.EchoStub(channel)
        for times, name in enumerate(["moody", "worse"], 1):
            document = {
                "loadBalancingConfig": [{name: {}}],
                "seawall": {"retryBudget": {"ratio": 1}},
            }
            put(file, json.dumps(document))
            refused = await heard.told(ConfigRefused, times)
            assert "can't be put in force" in refused.problem
            assert (await echo.Say(REQUEST)).text == "hello"
            (discovery,) = channel.discoveries
            assert discovery.pipeline._config.budget.ratio == 0.5
        put(file, ratio(0.75))
        await heard.told(ConfigReplaced)
    assert service.seen


class Keeping(MemoryRegistry):
    """A registry that holds what a test puts there; an error is raised."""

    keeps_configs = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.held: asyncio.Queue[str | Exception | None] = asyncio.Queue()

    async def configs(self, service: str) -> AsyncIterator[str | None]:  # type: ignore[override]
        while True:
            text = await self.held.get()
            if isinstance(text, Exception):
                raise text
            yield text


async def test_a_key_that_is_deleted_means_the_defaults_and_an_outage_means_nothing(
    registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_config, "ASK_AGAIN", 0.0)
    keeping, heard = Keeping(registry), Heard()
    adopted: list[ServiceConfig] = []
    for text in (None, ratio(0.5), RegistryError("away"), ratio(0.5), OSError("?"), "{", None):
        keeping.held.put_nowait(text)
    work = follow_registry(keeping, SERVICE, ServiceConfig(), adopted.append, heard)
    following = asyncio.create_task(work)
    await heard.until(lambda: len(adopted) == 2)
    following.cancel()
    await asyncio.wait([following])
    assert [config.budget.ratio for config in adopted] == [0.5, 0.1]
    problems = [event.problem for event in heard.of(ConfigRefused)]
    assert problems[:2] == ["away", "OSError('?')"] and "not JSON" in problems[2]
    await keeping.close()


class Documents:
    """Documents by chance, good and bad. The good ones let every call of the test through."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def next(self) -> str | None:
        draw = self._random
        kind = draw.random()
        if kind < 0.05:
            return None
        text = json.dumps(self._good())
        if kind < 0.15:
            return text[: draw.randrange(len(text))]
        if kind < 0.25:
            return json.dumps(self._good() | {draw.choice(["seawal", "methodConfg"]): {}})
        if kind < 0.30:
            return text.replace('"1s"', "1").replace("true", "0") + draw.choice(["", "}", "\0"])
        return text

    def _good(self) -> dict[str, Any]:
        own = {
            "bulkhead": {"maxConcurrent": self._number(40, 80), "maxQueue": 100},
            "rateLimit": {"perSecond": 1e6, "burst": self._number(10_000, 20_000)},
            "hedging": {"maxAttempts": self._number(2, 5)},
            "staleIfError": {"maxAge": "1s", "maxEntries": self._number(1, 50)},
            "idempotent": True,
        }
        service = {
            "subset": {"size": self._number(1, 20)},
            "slowStart": {"window": "1s"},
            "breaker": {"consecutiveFailures": self._number(5, 9), "failureRatio": 0.9},
            "retryBudget": {"ratio": self._number(1, 9) / 10},
            "adaptiveThrottling": {"window": "1s"},
            "outlierDetection": {"interval": "1s", "failurePercentageEjection": {}},
        }
        names = [{"service": SERVICE}, {"service": SERVICE, "method": "Say"}, {}]
        return {
            "loadBalancingConfig": [{self._random.choice(PICKERS): {}}],
            "methodConfig": [
                {"name": [self._random.choice(names)], "timeout": "20s", "seawall": self._some(own)}
            ],
            "seawall": self._some(service),
        }

    def _number(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def _some(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if self._random.random() < 0.4}


PICKERS = [
    "hot_cold", "least_loaded", "least_request_experimental", "random", "locality",
    "ring_hash_experimental", "round_robin", "weighted_round_robin",
]  # fmt: skip


async def test_a_thousand_documents_while_calls_run_lose_none_and_leak_nothing(registry) -> None:
    keeping, heard, documents = Keeping(registry), Heard(), Documents(1)
    async with (
        EchoService(registry=registry, shedding=False),
        EchoService(registry=registry, shedding=False),
        seawall.connect(keeping, service_config="registry", listener=heard, zone="a") as channel,
    ):
        echo, over, answered = pb_grpc.EchoStub(channel), asyncio.Event(), 0

        async def caller() -> None:
            nonlocal answered
            while not over.is_set():
                await echo.Say(REQUEST, timeout=20)
                async for _ in echo.Count(pb.EchoRequest(count=2), timeout=20):
                    answered += 1

        async with asyncio.timeout(50), asyncio.TaskGroup() as callers:
            for _ in range(20):
                callers.create_task(caller())
            for _ in range(1000):
                keeping.held.put_nowait(documents.next())
                await asyncio.sleep(0)
            keeping.held.put_nowait('{"seawall": {"breaker": {"consecutiveFailures": 4}}}')
            (discovery,) = channel.discoveries
            pipeline = discovery.pipeline
            await heard.until(lambda: pipeline._config.breaker.consecutive_failures == 4)
            over.set()
        assert len(heard.of(ConfigReplaced)) > 500 and len(heard.of(ConfigRefused)) > 100
        assert answered > 100 and not channel.active
        assert all(endpoint.outstanding == 0 for endpoint in pipeline.group.endpoints)
        assert not pipeline.group.warming and len(pipeline.group.ready) == 2
        assert len(discovery.waiting) == 0
    await keeping.close()
