"""``local://`` when processes die, files are deleted and directories go away."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from seawall.call import Instance
from seawall.errors import ConfigError, RegistryError, RegistryUnavailable
from seawall.events import (
    Event,
    MalformedEntry,
    RegistrationRestored,
    RegistryLost,
    RegistryRegained,
)
from seawall.registry import Registry, open_registry
from seawall.registry.local import directory as directories
from seawall.registry.local import files, shelf
from seawall.registry.local.inotify import Happened, Inotify, Notice
from seawall.testing.registry import Instances, owner_process, python_process, until

SERVICE = "shop.v1.Inventory"
A = Instance(SERVICE, "a", "127.0.0.1:1001")
B = Instance(SERVICE, "b", "127.0.0.1:1002")

EventT = TypeVar("EventT", bound=Event)


class Events(list[Event]):
    """Keeps the events, and lets a test wait for one of a kind."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.append(event)
        self._news.set()

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self if isinstance(event, kind)]

    async def wait(self, kind: type[EventT], count: int = 1) -> list[EventT]:
        async with asyncio.timeout(10):
            while len(self.of(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(kind)


@asynccontextmanager
async def opened(url: str, events: Events | None = None) -> AsyncIterator[Registry]:
    registry = open_registry(url, listener=events if events is not None else Events())
    try:
        yield registry
    finally:
        await registry.close()


@pytest.fixture
def without_inotify(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(directory: Path) -> Inotify:
        raise OSError(errno.EMFILE, "too many of them")

    monkeypatch.setattr(shelf, "Inotify", refuse)
    monkeypatch.setattr(shelf, "POLL", 0.05)


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found out by looking again after a while: the kernel must have told."""
    monkeypatch.setattr(shelf, "SWEEP", 1000.0)
    monkeypatch.setattr(shelf, "LINGER", 1000.0)


# Death


async def test_the_file_of_a_killed_owner_is_removed(local_url: str, directory: Path) -> None:
    async with opened(local_url) as registry, owner_process(local_url, A) as owner:
        lists = registry.lists(SERVICE)
        await until(lists, {"a"})
        assert len(list(directory.iterdir())) == 1
        owner.kill()
        await until(lists, set())
        assert list(directory.iterdir()) == []


async def test_a_killed_owner_is_seen_without_inotify(
    local_url: str, without_inotify: None
) -> None:
    async with opened(local_url) as registry, owner_process(local_url, A) as owner:
        lists = registry.lists(SERVICE)
        await until(lists, {"a"})
        owner.kill()
        await until(lists, set())


async def test_nothing_is_missed_without_inotify(local_url: str, without_inotify: None) -> None:
    async with opened(local_url) as owner, opened(local_url) as registry:
        lists = registry.lists(SERVICE)
        await until(lists, set())
        registration = await owner.register([A])
        await until(lists, {"a"})
        await registration.update([A, B])
        await until(lists, {"a", "b"})
        await registration.close()
        await until(lists, set())


async def test_an_owner_that_died_earlier_is_not_listed(local_url: str, directory: Path) -> None:
    async with owner_process(local_url, A) as owner:
        owner.kill()
        owner.wait()
    assert len(list(directory.iterdir())) == 1, "nobody was there to remove it"
    async with opened(local_url) as registry:
        assert await until(registry.lists(SERVICE), set()) == ()
    assert list(directory.iterdir()) == []


async def test_a_frozen_owner_stays_listed(local_url: str) -> None:
    async with owner_process(local_url, A) as owner:
        owner.send_signal(signal.SIGSTOP)
        async with opened(local_url) as registry:
            async with asyncio.timeout(10):
                assert [one.id for one in await anext(registry.lists(SERVICE))] == ["a"]


async def test_an_instance_that_came_later_counts(local_url: str) -> None:
    moved = Instance(SERVICE, "a", "127.0.0.1:9999")
    async with opened(local_url) as first, opened(local_url) as second:
        await first.register([A])
        later = await second.register([moved])
        async with asyncio.timeout(10):
            async for found in first.lists(SERVICE):
                if found == (moved,):
                    break
        lists = second.lists(SERVICE)
        assert await until(lists, {"a"}) == (moved,)
        await later.close()
        assert await until(lists, {"a"}) == (A,)


_PARENT = """
import asyncio, os, signal, subprocess, sys
from seawall.call import Instance
from seawall.registry import open_registry

async def main(url, how):
    registry = open_registry(url)
    registration = await registry.register([Instance("shop.v1.Inventory", "a", "127.0.0.1:1001")])
    if how == "exec":
        child = subprocess.Popen(["sleep", "60"], close_fds=False).pid
    elif (child := os.fork()) == 0:
        signal.pause()
    print(child, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("how", ["exec", "fork"])
async def test_children_do_not_keep_a_dead_owner_listed(local_url: str, how: str) -> None:
    async with python_process(_PARENT, local_url, how) as (parent, line), opened(local_url) as it:
        child = int(line)
        try:
            lists = it.lists(SERVICE)
            await until(lists, {"a"})
            parent.kill()
            await until(lists, set())
            os.kill(child, 0)  # it's still there
        finally:
            os.kill(child, signal.SIGKILL)


async def test_the_clean_up_of_a_child_leaves_the_parent_listed(
    local_url: str, directory: Path
) -> None:
    code = _PARENT.replace("signal.pause()", "registration._file.remove(); os._exit(0)")
    code = code.replace("print(", "os.waitpid(child, 0); print(")
    async with python_process(code, local_url, "fork"), opened(local_url) as registry:
        async with asyncio.timeout(10):
            assert [one.id for one in await anext(registry.lists(SERVICE))] == ["a"]


async def test_a_lock_that_is_dropped_after_the_news(
    local_url: str, only_events: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files._is_locked
    late = [True, True]

    def is_locked(file: int) -> bool:
        return real(file) or bool(late and late.pop())

    async with opened(local_url) as registry, owner_process(local_url, A) as owner:
        lists = registry.lists(SERVICE)
        await until(lists, {"a"})
        monkeypatch.setattr(files, "_is_locked", is_locked)
        owner.kill()
        await until(lists, set())
        assert late == []


async def test_a_goodbye_needs_no_second_look(local_url: str, only_events: None) -> None:
    async with opened(local_url) as owner, opened(local_url) as registry:
        registration = await owner.register([A])
        lists = registry.lists(SERVICE)
        await until(lists, {"a"})
        await registration.close()
        await until(lists, set())


# Locks and files


def test_readers_do_not_take_each_other_for_the_owner(tmp_path: Path) -> None:
    own = files.OwnFile(tmp_path)
    own.put(b"{}")
    assert isinstance(files.look(own.path), files.Alive)
    own.forget()
    with own.path.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert files.look(own.path) == files.Dead()


def test_a_known_file_is_not_read_again(tmp_path: Path) -> None:
    own = files.OwnFile(tmp_path)
    own.put(b"{}")
    found = files.look(own.path)
    assert isinstance(found, files.Alive)
    assert found.data == b"{}"
    assert files.look(own.path, found.stamp) == files.Alive(found.stamp, None)
    own.put(b"[]")
    again = files.look(own.path, found.stamp)
    assert isinstance(again, files.Alive)
    assert again.data == b"[]"
    own.remove()
    assert files.look(own.path) == files.Gone()


_WRITER = """
import sys
import time
from pathlib import Path
from seawall.registry.local.files import OwnFile

own = OwnFile(Path(sys.argv[1]))
for number in range(1000):
    own.put(b"%05d" % number * 1000)
    if number == 0:
        print(own.path, flush=True)
time.sleep(60)
"""


async def test_a_file_that_is_replaced_all_the_time_is_always_whole(tmp_path: Path) -> None:
    async with python_process(_WRITER, str(tmp_path)) as (_, line):
        path = Path(line)
        last, deadline = b"", time.monotonic() + 20
        while last != b"00999":
            assert time.monotonic() < deadline
            found = files.look(path)
            assert isinstance(found, files.Alive), "a living owner was taken for a dead one"
            assert found.data is not None
            assert found.data[:5] >= last
            last = found.data[:5]
            assert found.data == last * 1000


async def test_leftovers_are_removed_when_they_are_old(local_url: str, directory: Path) -> None:
    directory.mkdir(mode=0o700)
    old = directory / ".new-0000000000000001-00000001.json"
    young = directory / ".new-0000000000000002-00000002.json"
    foreign = directory / ".keep"
    for path in (old, young, foreign):
        path.touch()
    for path in (old, foreign):
        os.utime(path, (1, 1))
    async with opened(local_url) as registry:
        await until(registry.lists(SERVICE), set())
    assert sorted(directory.iterdir()) == sorted([young, foreign])


async def test_what_is_not_ours_is_told_once_and_left_alone(
    local_url: str, directory: Path
) -> None:
    directory.mkdir(mode=0o700)
    (directory / "README").write_text("hands off")
    (directory / "sockets").mkdir()  # where servers put theirs: nothing to be told of
    os.mkfifo(directory / "0000000000000001-00000001.json")
    events = Events()
    async with opened(local_url, events) as registry:
        await until(registry.lists(SERVICE), set())
        (directory / "later.txt").write_text("x")
        (directory / "later.txt").write_text("y")
        await registry.register([A])
        await until(registry.lists(SERVICE), {"a"})
        told = await events.wait(MalformedEntry, 3)
    assert (directory / "README").read_text() == "hands off"
    names = sorted(Path(event.key).name for event in told)
    assert names == ["0000000000000001-00000001.json", "README", "later.txt"]


@pytest.mark.parametrize(
    ("content", "ids", "problem"),
    [
        (b'{"instances": [', set(), "is not JSON"),
        (b"\xff\xfe", set(), "is not JSON"),
        (b"[" * 100_000, set(), "is not JSON"),
        (b"[]", set(), "has no list of instances"),
        (b'{"instances": {}}', set(), "has no list of instances"),
        (b" " * (4 * 1024 * 1024 + 1), set(), "is larger than"),
        (
            json.dumps(
                {
                    "instances": [
                        {"service": SERVICE, "id": "good", "address": "a:1"},
                        {"service": SERVICE, "id": "bad"},
                        {"service": SERVICE, "id": "bad", "address": "a:1", "metadata": 5},
                        "bad",
                    ]
                }
            ).encode(),
            {"good"},
            "instances[1] lacks service, id or a usable address",
        ),
    ],
)
async def test_malformed_content(
    local_url: str, directory: Path, content: bytes, ids: set[str], problem: str
) -> None:
    directory.mkdir(mode=0o700)
    own = files.OwnFile(directory)
    own.put(content)
    events = Events()
    async with opened(local_url, events) as registry:
        await until(registry.lists(SERVICE), ids)
    own.remove()
    (event,) = events
    assert isinstance(event, MalformedEntry)
    assert problem in event.problem
    assert event.key == str(own.path)


async def test_metadata_that_is_not_json_is_refused(local_url: str) -> None:
    async with opened(local_url) as registry:
        bad = Instance(SERVICE, "a", "a:1", {"x": object()})  # type: ignore[dict-item]
        with pytest.raises(ConfigError, match="metadata: can't be written as JSON"):
            await registry.register([bad])


async def test_names_do_not_come_from_what_is_registered(local_url: str, directory: Path) -> None:
    odd = Instance("../../etc", "../x/\0", "a:1")
    async with opened(local_url) as registry:
        await registry.register([odd])
        assert await until(registry.lists("../../etc"), {odd.id}) == (odd,)
        (path,) = directory.iterdir()
        assert files.NAME.fullmatch(path.name)
        assert path.stat().st_mode & 0o777 == 0o600


# Deleted by somebody else


async def test_a_deleted_file_is_put_back(local_url: str, directory: Path) -> None:
    events = Events()
    passed: list[Instances] = []
    async with opened(local_url, events) as owner, opened(local_url) as watcher:
        lists = watcher.lists(SERVICE)
        await until(lists, set())
        registration = await owner.register([A])
        await until(lists, {"a"})
        (path,) = directory.iterdir()
        path.unlink()
        (restored,) = await events.wait(RegistrationRestored)
        assert path.name in restored.reason
        await registration.update([A, B])
        await until(lists, {"a", "b"}, passed=passed)
        assert passed == [], "the list was emptied by a deletion that its owner mended"


async def test_a_deleted_directory_is_made_again(local_url: str, directory: Path) -> None:
    events = Events()
    passed: list[Instances] = []
    async with opened(local_url, events) as owner, opened(local_url) as watcher:
        registration = await owner.register([A])
        lists = watcher.lists(SERVICE)
        await until(lists, {"a"})
        shutil.rmtree(directory)
        await events.wait(RegistrationRestored)
        await registration.update([A, B])
        await until(lists, {"a", "b"}, passed=passed)
        assert passed == []
        assert directory.stat().st_mode & 0o777 == 0o700
        async with opened(local_url) as third:
            await until(third.lists(SERVICE), {"a", "b"})


async def test_a_directory_that_was_moved_away_is_made_again(
    local_url: str, directory: Path
) -> None:
    events = Events()
    async with opened(local_url, events) as owner:
        await owner.register([A])
        directory.rename(directory.with_name("elsewhere"))
        await events.wait(RegistrationRestored)
        assert len(list(directory.iterdir())) == 1


async def test_an_outage_empties_no_list(local_url: str, directory: Path) -> None:
    events = Events()
    passed: list[Instances] = []
    async with opened(local_url, events) as registry:
        registration = await registry.register([A])
        lists = registry.lists(SERVICE)
        await until(lists, {"a"})
        shutil.rmtree(directory)
        directory.touch()  # something is in the way
        (lost,) = await events.wait(RegistryLost)
        assert registry.problem == lost.problem
        assert str(directory) in lost.problem
        with pytest.raises(RegistryError, match="can't be used"):
            await registration.update([A, B])
        directory.unlink()
        (regained,) = await events.wait(RegistryRegained)
        assert regained.outage > 0
        assert registry.problem is None
        await until(lists, {"a", "b"}, passed=passed)
        assert passed == []
    assert len(events.of(RegistryLost)) == len(events.of(RegistryRegained)) == 1


async def test_a_watch_waits_for_a_directory_that_cannot_be_used_yet(
    local_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(directory: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(directories, "secure", full)
    events = Events()
    async with opened(local_url, events) as registry:
        waiting = asyncio.ensure_future(anext(registry.lists(SERVICE)))
        await events.wait(RegistryLost)
        assert "No space left on device" in str(registry.problem)
        with pytest.raises(RegistryUnavailable, match="No space left on device"):
            await registry.register([A])
        assert not waiting.done()
        monkeypatch.undo()
        async with asyncio.timeout(10):
            assert await waiting == ()
        await registry.register([A])


async def test_what_the_kernel_could_not_tell_is_looked_up(
    local_url: str, only_events: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[Inotify], list[Notice]] = Inotify.read

    def overflow(self: Inotify) -> list[Notice]:
        return [Notice(Happened.OVERFLOW, "")] if real(self) else []

    monkeypatch.setattr(Inotify, "read", overflow)
    async with opened(local_url) as owner, opened(local_url) as watcher:
        lists = watcher.lists(SERVICE)
        await until(lists, set())
        await owner.register([A])
        await until(lists, {"a"})


async def test_a_file_that_its_owner_cannot_put_back_goes(local_url: str, directory: Path) -> None:
    async with owner_process(local_url, A) as owner, opened(local_url) as registry:
        lists = registry.lists(SERVICE)
        await until(lists, {"a"})
        owner.send_signal(signal.SIGSTOP)
        for path in directory.iterdir():
            path.unlink()
        await until(lists, set())


async def test_a_listener_that_raises_stops_nothing(
    local_url: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise LookupError(type(event).__name__)

    registry = open_registry(local_url, listener=broken)
    try:
        await registry.register([A])
        lists = registry.lists(SERVICE)
        await until(lists, {"a"})
        for path in directory.iterdir():
            path.unlink()
        await registry.register([B])
        await until(lists, {"a", "b"})
        async with opened(local_url) as other:
            await until(other.lists(SERVICE), {"a", "b"})
    finally:
        await registry.close()
    assert "LookupError: RegistrationRestored" in caplog.text


# The directory


def test_a_directory_is_made_for_nobody_else(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    directories.secure(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    directories.secure(directory)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
async def test_a_directory_that_others_can_write_to_is_refused(
    local_url: str, directory: Path, mode: int
) -> None:
    directory.mkdir()
    directory.chmod(mode)
    async with opened(local_url) as registry:
        with pytest.raises(RegistryError, match=f"chmod 700 {directory}"):
            await registry.register([A])
        with pytest.raises(RegistryError, match=f"chmod 700 {directory}"):
            await anext(registry.lists(SERVICE))


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(RegistryError, match=f"belongs to user {mine}, and this process is user"):
        directories.secure(tmp_path)


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RegistryError, match=f"SEAWALL_REGISTRY=local://{tmp_path}"):
        directories.secure(tmp_path / "link")


async def test_a_file_in_place_of_the_directory_is_refused(local_url: str, directory: Path) -> None:
    directory.touch()
    async with opened(local_url) as registry:
        with pytest.raises(RegistryError, match="can't be used") as caught:
            await registry.register([A])
        assert not isinstance(caught.value, RegistryUnavailable)


async def test_a_file_system_without_locks_is_refused(
    local_url: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: None)
    async with opened(local_url) as registry:
        with pytest.raises(RegistryError, match="no working locks"):
            await registry.register([A])
        assert list(directory.iterdir()) == []


def test_percent_encoding_in_the_path(tmp_path: Path) -> None:
    assert directories.parse("local:///run/a%20b") == Path("/run/a b")
    with pytest.raises(ConfigError):
        directories.parse("local://a/b")


# What is left


async def test_close_releases_every_descriptor(local_url: str, directory: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    async with opened(local_url) as registry:
        await registry.register([A])
        registration = await registry.register([B])
        await registration.update([A])
        await until(registry.lists(SERVICE), {"a"})
    assert set(Path("/proc/self/fd").iterdir()) <= before
    assert list(directory.iterdir()) == []


async def test_closed(local_url: str) -> None:
    registry = open_registry(local_url)
    registration = await registry.register([A])
    await registry.close()
    with pytest.raises(RegistryError, match="closed"):
        await registry.register([A])
    with pytest.raises(RegistryError, match="closed"):
        await registration.update([A])
    assert [one async for one in registry.lists(SERVICE)] == []


def test_another_loop_is_refused(local_url: str) -> None:
    registry = open_registry(local_url)

    async def register() -> None:
        await registry.register([A])

    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(register())
        with pytest.raises(RegistryError, match="another event loop"):
            asyncio.run(register())
        first.run_until_complete(registry.close())
    finally:
        first.close()
