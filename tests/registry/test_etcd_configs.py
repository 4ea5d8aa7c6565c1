"""Service configs that are kept in etcd, beside the services they are for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import seawall
from seawall.errors import ConfigError, RegistryError
from seawall.events import ConfigRefused, ConfigReplaced
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.testing.etcd import EtcdServer
from tests.echo import EchoService, failing
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.registry.etcd_fixtures import (
    LIMIT,
    OpenRegistry,
    away,
    etcd,
    fragile,
    namespace,
    opened,
)

__all__ = ["etcd", "fragile", "namespace", "opened"]

SERVICE = "seawall.tests.Echo"
REQUEST = pb.EchoRequest(text="hello")
NO_RETRIES = json.dumps(
    {"methodConfig": [{"name": [{"service": SERVICE}], "seawall": {"retries": False}}]}
)


async def put(server: EtcdServer, namespace: str, text: str) -> None:
    await away(server.etcdctl, "put", f"{namespace}/.config/{SERVICE}", text)


async def test_what_is_put_replaced_and_deleted_is_told(
    etcd: EtcdServer, opened: OpenRegistry, namespace: str
) -> None:
    registry = opened(f"{etcd.url}/{namespace}")
    async with asyncio.timeout(LIMIT):
        configs = registry.configs(SERVICE)
        assert await anext(configs) is None
        await put(etcd, namespace, "{}")
        assert await anext(configs) == "{}"
        await put(etcd, namespace, NO_RETRIES)
        assert await anext(configs) == NO_RETRIES
        await away(etcd.etcdctl, "del", f"{namespace}/.config/{SERVICE}")
        assert await anext(configs) is None
        await configs.aclose()


async def test_a_config_is_no_instance(
    etcd: EtcdServer, opened: OpenRegistry, namespace: str
) -> None:
    await put(etcd, namespace, "{}")
    registry = opened(f"{etcd.url}/{namespace}")
    async with asyncio.timeout(LIMIT):
        async for instances in registry.lists(SERVICE):
            assert instances == ()
            break


async def test_calls_follow_what_the_registry_holds(fragile: EtcdServer, namespace: str) -> None:
    url, heard = f"{fragile.url}/{namespace}", Heard()
    async with (
        EchoService(registry=url) as one,
        EchoService(registry=url) as other,
        seawall.connect(url, service_config="registry", listener=heard) as channel,
    ):
        echo = pb_grpc.EchoStub(channel)
        await echo.Say(REQUEST)
        await put(fragile, namespace, NO_RETRIES)
        assert SERVICE in (await heard.told(ConfigReplaced)).source
        await put(fragile, namespace, '{"methodConfg": []}')
        assert "did you mean methodConfig" in (await heard.told(ConfigRefused)).problem
        one.hook = other.hook = failing(times=1)
        with pytest.raises(seawall.CallError):
            await echo.Say(REQUEST)
        # An outage changes nothing, and what was put in the meantime is found afterwards.
        await away(fragile.restart)
        await put(fragile, namespace, "{}")
        await heard.told(ConfigReplaced, 2)
        one.hook = other.hook = failing(times=1)
        assert (await echo.Say(REQUEST)).text == "hello"


async def test_they_are_followed_where_lists_are_kept_on_disk_too(
    etcd: EtcdServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAWALL_SNAPSHOTS", str(tmp_path))
    url, heard = f"{etcd.url}/{namespace}", Heard()
    await put(etcd, namespace, NO_RETRIES)
    async with seawall.connect(url, service_config="registry", listener=heard) as channel:
        pb_grpc.EchoStub(channel)
        assert SERVICE in (await heard.told(ConfigReplaced)).source


def test_a_registry_that_keeps_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"static://.* keeps no service configs"):
        seawall.connect("static://127.0.0.1:1", service_config="registry")


async def test_a_registry_that_refuses_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seawall.live_config.ASK_AGAIN", 0.0)
    asked = asyncio.Event()
    times = 0

    class Refusing(EtcdRegistry):
        async def configs(self, service: str):  # type: ignore[no-untyped-def]
            nonlocal times
            times += 1
            if times == 3:
                asked.set()
            raise RegistryError("no permission")
            yield

    registry, heard = Refusing("etcd://127.0.0.1:1"), Heard()
    async with seawall.connect(registry, service_config="registry", listener=heard) as channel:
        pb_grpc.EchoStub(channel)
        async with asyncio.timeout(LIMIT):
            await asked.wait()
    assert [event.problem for event in heard.of(ConfigRefused)] == ["no permission"]
    await registry.close()
