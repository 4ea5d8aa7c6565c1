"""The etcd registry on an etcd that is well."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seawall.errors import ConfigError, RegistryError
from seawall.events import MalformedEntry, RegistrationRestored, RegistryLost
from seawall.registry.etcd import follow as follow_module
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.registry.etcd.rpc import Away
from seawall.testing.etcd import EtcdServer
from seawall.testing.registry import no_more_tasks_than
from tests.registry.etcd_fixtures import (
    LIMIT,
    OpenRegistry,
    Proxy,
    Watching,
    away,
    etcd,
    instance,
    keys,
    namespace,
    opened,
    service,
    within,
)

__all__ = ["etcd", "namespace", "opened"]


@pytest.fixture
def url(etcd: EtcdServer, namespace: str) -> str:
    return f"{etcd.url}/{namespace}"


async def test_register_watch_update_goodbye(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    async with Watching(registry) as watching:
        await watching.until()
        registration = await registry.register([instance(zone="a"), instance(name="Orders")])
        assert await watching.until("i1") == (instance(zone="a"),)
        found = await keys(etcd, namespace)
        assert found.keys() == {
            f"{namespace}/{service(name)}/i1" for name in ("Inventory", "Orders")
        }
        assert json.loads(found[f"{namespace}/{service()}/i1"]) == {
            "Op": 0,
            "Addr": "127.0.0.1:1001",
            "Metadata": None,
            "Facts": {"zone": "a"},
        }
        await registration.update([instance("i2")])
        await watching.until("i2")
        assert list(await keys(etcd, namespace)) == [f"{namespace}/{service()}/i2"]
        await registration.close()
        await watching.until()
        assert all(
            len(instances) < 2 or {one.id for one in instances} == {"i1", "i2"}
            for instances in watching.lists
        )
    assert await keys(etcd, namespace) == {}
    assert registry.problem is None


async def test_all_registrations_hang_on_one_lease(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    first = await registry.register([instance("i1"), instance("i1", name="Orders")])
    lease = registry.lease
    second = await registry.register([instance("i2")])
    found = json.loads(
        await away(etcd.etcdctl, "lease", "timetolive", f"{lease:x}", "--keys", "-w", "json")
    )
    assert found["granted-ttl"] == 10
    assert len(found["keys"]) == 3
    await first.close()
    assert registry.lease == lease
    await second.close()
    assert f"{lease:x}" not in await away(etcd.etcdctl, "lease", "list")


async def test_two_watches_share_the_work(url: str, opened: OpenRegistry) -> None:
    registry = opened(url)
    await registry.register([instance()])
    async with Watching(registry) as one, Watching(registry) as other:
        assert await one.until("i1") == await other.until("i1")
        one.task.cancel()
        await asyncio.wait([one.task])
        await registry.register([instance("i2")])
        await other.until("i1", "i2")


async def test_the_newest_owner_of_an_id_has_it(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    older, newer = opened(url), opened(url)
    registration = await older.register([instance(port=1)])
    async with Watching(newer) as watching:
        await newer.register([instance(port=2)])
        await watching.shows(instance(port=2))
        await registration.close()
        assert len(await keys(etcd, namespace)) == 1, "the goodbye took the other's key"
        assert watching.lists[-1] == (instance(port=2),)
    assert not older.of(RegistrationRestored), "two owners fought"


async def test_the_same_id_twice_in_one_process(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    older = await registry.register([instance(port=1)])
    await registry.register([instance(port=2)])
    await older.close()
    (value,) = (await keys(etcd, namespace)).values()
    assert json.loads(value)["Addr"] == "127.0.0.1:2"


async def test_a_key_that_somebody_deletes_is_put_again(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    await registry.register([instance(), instance(name="Orders")])
    async with Watching(registry) as watching:
        await watching.until("i1")
        for times in (1, 2):
            await away(etcd.etcdctl, "del", "--prefix", f"{namespace}/")
            restored = await registry.told(RegistrationRestored, times)
            assert "removed" in restored.reason
            assert len(await keys(etcd, namespace)) == 2
        assert len(watching.lists) == 1, "a deletion by accident must not be seen"


async def test_a_key_that_would_outlive_us_is_put_again(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    await registry.register([instance(port=1)])
    await registry.register([instance("i2")])
    key = f"{namespace}/{service()}/i1"
    await away(etcd.etcdctl, "put", key, '{"Op":0,"Addr":"127.0.0.1:9"}')
    await registry.told(RegistrationRestored)
    assert ":1" in (await keys(etcd, namespace))[key]


async def test_a_lease_that_somebody_revokes_is_granted_anew(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    await registry.register([instance(), instance(name="Orders")])
    lease = registry.lease
    async with Watching(registry) as watching:
        await watching.until("i1")
        await away(etcd.etcdctl, "lease", "revoke", f"{lease:x}")
        assert "lease" in (await registry.told(RegistrationRestored)).reason
        assert registry.lease != lease
        assert len(await keys(etcd, namespace)) == 2
        assert len(watching.lists) == 1


@pytest.mark.usefixtures("little_doubt")
async def test_a_malformed_value_is_told_once_and_skipped(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    key = f"{namespace}/{service()}/bad"
    await away(etcd.etcdctl, "put", key, "10.0.0.1:1")
    async with Watching(registry) as watching:
        await watching.until()
        await registry.register([instance()])
        await watching.until("i1")
        await away(etcd.etcdctl, "put", key, "10.0.0.1:1")
        await away(etcd.etcdctl, "put", key, '{"Op":0,"Addr":"10.0.0.1:1","Metadata":null}')
        await watching.until("i1", "bad")
        await away(etcd.etcdctl, "put", key, "{")
        await watching.until("i1")
    problems = registry.of(MalformedEntry)
    assert [one.key for one in problems] == [key, key]
    assert "JSON" in problems[0].problem


async def test_events_of_one_transaction_come_together(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    async with Watching(registry) as watching:
        await watching.until()
        await registry.register([instance(f"i{number}") for number in range(50)])
        await watching.until(*(f"i{number}" for number in range(50)))
        assert [len(instances) for instances in watching.lists] == [0, 50]


async def test_many_keys_go_in_several_transactions(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    registration = await registry.register([instance(f"i{number}") for number in range(450)])
    assert len(await keys(etcd, namespace)) == 450
    await registration.close()
    assert await keys(etcd, namespace) == {}


async def test_more_keys_than_a_transaction_takes_are_guarded(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    ids = [f"i{number:03}" for number in range(150)]
    await registry.register([instance(one) for one in ids])
    async with Watching(registry) as watching:
        await watching.until(*ids)
        for one in (ids[0], ids[-1]):
            key = f"{namespace}/{service()}/{one}"
            await away(etcd.etcdctl, "del", key)
            await registry.told(RegistrationRestored, 1 + (one == ids[-1]))
        await watching.until(*ids)
    assert len(await keys(etcd, namespace)) == 150
    assert not registry.of(RegistryLost)


async def test_a_lost_session_leaves_no_connection(
    etcd: EtcdServer, url: str, opened: OpenRegistry
) -> None:
    before = _connections(etcd.client_port)
    registry = opened(url)
    gc.collect()
    gc.disable()
    try:
        registration = await registry.register([instance()])
        async with Watching(registry) as watching:
            for number in range(5):
                session = registry._client.current
                assert session is not None
                session.lost(Away("the test cuts it"))
                del session
                await registration.update([instance(v=number)])
                await watching.shows(instance(v=number))
            await _until(lambda: _connections(etcd.client_port) == before + 1)
        await registry.close()
        await _until(lambda: _connections(etcd.client_port) == before)
    finally:
        gc.enable()


def _connections(port: int) -> int:
    """How many connections to ``port`` are open, seen from the side that opened them."""
    tables = [Path(f"/proc/self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_watch_resumes_where_it_was(
    etcd: EtcdServer, namespace: str, opened: OpenRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = _count_listings(monkeypatch)
    owner = opened(f"{etcd.url}/{namespace}")
    registration = await owner.register([instance("i1"), instance("i2")])
    async with Proxy(etcd.client_port) as proxy:
        registry = opened(f"etcd://{proxy.address}/{namespace}")
        async with Watching(registry) as watching:
            await watching.until("i1", "i2")
            await proxy.cut()
            await registry.told(RegistryLost)
            assert "refused" in str(registry.problem)
            await registration.update([instance("i2"), instance("i3")])
            await proxy.mend()
            await watching.until("i2", "i3")
            assert () not in watching.lists
            assert registry.problem is None
            await registry.close()
    assert listed == [service()], "it listed again where it could resume"


async def test_compaction_while_cut_off(
    etcd: EtcdServer, namespace: str, opened: OpenRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = _count_listings(monkeypatch)
    owner = opened(f"{etcd.url}/{namespace}")
    registration = await owner.register([instance("i1"), instance("i2")])
    async with Proxy(etcd.client_port) as proxy:
        registry = opened(f"etcd://{proxy.address}/{namespace}")
        async with Watching(registry) as watching:
            await watching.until("i1", "i2")
            await proxy.cut()
            await registration.update([instance("i2", 7), instance("i3")])
            status = json.loads(await away(etcd.etcdctl, "endpoint", "status", "-w", "json"))
            await away(etcd.etcdctl, "compact", str(status[0]["Status"]["header"]["revision"]))
            await proxy.mend()
            await watching.shows(instance("i2", 7), instance("i3"))
            assert () not in watching.lists
            await registry.close()
    assert listed == [service()] * 2


async def test_cancelled_at_any_await_nothing_is_left(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    before = asyncio.all_tasks()
    for steps in range(0, 60, 3):
        registry = opened(url)
        task = asyncio.create_task(registry.register([instance(f"i{steps}")]))
        for _ in range(steps):
            await asyncio.sleep(0.0002)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await within(task.result().close())
        # After a registration that came to nothing, the next works as if it had never been.
        again = await registry.register([instance("again")])
        assert [key.rpartition("/")[2] for key in await keys(etcd, namespace)] == ["again"]
        await again.close()
        await registry.close()
        await no_more_tasks_than(before)


async def test_close_says_goodbye_and_ends_watches(
    etcd: EtcdServer, url: str, namespace: str, opened: OpenRegistry
) -> None:
    registry = opened(url)
    registration = await registry.register([instance()])
    watching = Watching(registry)
    await watching.until("i1")
    await registry.close()
    await within(asyncio.wait_for(watching.task, None))
    assert await keys(etcd, namespace) == {}
    await registration.close()
    await registry.close()
    with pytest.raises(RegistryError, match="closed"):
        await registry.register([instance()])
    with pytest.raises(RegistryError, match="closed"):
        await registration.update([instance()])
    with pytest.raises(RegistryError, match="closed"):
        await within(anext(aiter(registry.lists(service()))))


async def test_what_cannot_be_a_key_is_refused(url: str, opened: OpenRegistry) -> None:
    registry = opened(url)
    with pytest.raises(ConfigError, match="id"):
        await registry.register([instance("a/b")])
    with pytest.raises(ConfigError, match="service"):
        await within(anext(aiter(registry.lists("a/b"))))


async def test_a_listener_that_fails_stops_nothing(
    etcd: EtcdServer, url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: object) -> None:
        raise ValueError("no")

    registry = EtcdRegistry(url, broken)
    await registry.register([instance()])
    async with Watching(registry) as watching:
        await watching.until("i1")
        await away(etcd.etcdctl, "put", f"{namespace}/{service()}/bad", "x")
        await registry.register([instance("i2")])
        await watching.until("i1", "i2")
    await registry.close()
    assert "listener" in caplog.text


@pytest.mark.parametrize("closes", ["registration", "registry"])
async def test_a_goodbye_that_nobody_waits_for_is_said(
    etcd: EtcdServer, opened: OpenRegistry, namespace: str, closes: str
) -> None:
    for ticks in (0, 1, 2, 10, 100):
        registry = opened(f"{etcd.url}/{namespace}")
        registration = await registry.register([instance()])
        lease = f"{registry.lease:x}"
        closing = asyncio.create_task(
            (registration if closes == "registration" else registry).close()
        )
        for _ in range(ticks):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await asyncio.gather(registration.close(), registry.close())
        assert not await keys(etcd, namespace)
        assert lease not in await away(etcd.etcdctl, "lease", "list")


def test_what_is_advertised_is_the_address_towards_etcd() -> None:
    assert EtcdRegistry("etcd://127.0.0.1").advertised_host() == "127.0.0.1"
    assert EtcdRegistry("etcd://[::1]").advertised_host() in {"::1", None}
    assert EtcdRegistry("etcd://nowhere.invalid").advertised_host() is None


def _count_listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services that were listed, by everybody who watches a prefix."""
    listed: list[str] = []
    real = follow_module._list

    async def counting(session: Any, spans: Any) -> Any:
        listed.extend(span.key.decode().split("/")[1] for span in spans if span.end)
        return await real(session, spans)

    monkeypatch.setattr(follow_module, "_list", counting)
    return listed


@pytest.mark.parametrize("odd", ["ünï", "..", "a*b", "100%25", "x/y/z", "'\"`$(x)", "-", "\\"])
async def test_odd_namespaces_are_kept_apart(
    etcd: EtcdServer, opened: OpenRegistry, namespace: str, odd: str
) -> None:
    """What a shell, a path or a pattern would take amiss is an ordinary character in a key."""
    registry = opened(f"{etcd.url}/{namespace}/{odd}")
    other = opened(f"{etcd.url}/{namespace}")
    await other.register([instance("other")])
    async with Watching(registry) as watching:
        await watching.until()
        await registry.register([instance("i1")])
        await watching.until("i1")
        async with Watching(other) as others:
            await others.until("other")
