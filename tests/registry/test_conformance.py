"""Every registry keeps the contract of ``seawall.registry.base``."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from seawall.registry.local.files import OwnFile
from seawall.testing.etcd import EtcdServer, find_binary
from seawall.testing.registry import RegistryConformance, WatchConformance


class TestMemory(RegistryConformance):
    @pytest.fixture
    def registry_url(self) -> str:
        return f"memory://{secrets.token_hex(4)}"


class TestLocal(RegistryConformance):
    crash_limit = 5.0
    """It takes a few milliseconds; a busy machine must not make the test fail."""

    spoilt: OwnFile | None = None

    @pytest.fixture
    def registry_url(self, local_url: str) -> Iterator[str]:
        yield local_url
        if self.spoilt is not None:
            self.spoilt.remove()

    async def spoil(self, url: str, service: str) -> None:
        """A file that a living process holds, as it must be, but that is cut short."""
        self.spoilt = OwnFile(Path(urlsplit(url).path))
        self.spoilt.put(b'{"pid": 1, "instances": [{"ser')


class TestStatic(WatchConformance):
    @pytest.fixture
    def registry_url(self) -> str:
        return "static://?shop.v1.Inventory=127.0.0.1:1001"


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


class TestEtcd(RegistryConformance):
    crash_limit = 15.0
    """The lease has to run out: 2 s, and what etcd takes to notice."""

    @pytest.fixture
    def registry_url(self, etcd: EtcdServer) -> str:
        base = urlsplit(etcd.url)
        return f"etcd://{base.netloc}/conformance-{secrets.token_hex(4)}?ttl=2"

    async def spoil(self, url: str, service: str) -> None:
        place = urlsplit(url)
        key = f"{place.path.strip('/')}/{service}/spoilt"
        process = await asyncio.create_subprocess_exec(
            find_binary("etcdctl"), f"--endpoints={place.netloc}", "put", key, '{"Op":0,"Add'
        )
        assert await process.wait() == 0
