"""Every registry keeps the contract of ``seawall.registry.base``."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from seawall.call import Instance
from seawall.errors import RegistryError
from seawall.events import Listener, ignore
from seawall.registry import Registration, Registry
from seawall.registry.dns import DnsRegistry, inquiry, lookup
from seawall.registry.local.files import OwnFile
from seawall.testing.etcd import EtcdServer, find_binary
from seawall.testing.registry import RegistryConformance
from tests.registry.dns_server import DnsServer, Zone
from tests.registry.test_open import offer


class TestMemory(RegistryConformance):
    @pytest.fixture
    def registry_url(self) -> str:
        return f"memory://{secrets.token_hex(4)}"


class TestThirdParty(RegistryConformance):
    """A registry with three methods, which an installed package offers."""

    @pytest.fixture
    def registry_url(self, monkeypatch: pytest.MonkeyPatch) -> str:
        offer(monkeypatch, "dict", "tests.registry.dict_registry:DictRegistry")
        return "dict://"


class TestLocal(RegistryConformance):
    crash_limit = 5.0
    """It takes a few milliseconds; a busy machine must not make the test fail."""

    spoilt: OwnFile | None = None

    @pytest.fixture
    def registry_url(self, local_url: str) -> Iterator[str]:
        yield local_url
        if self.spoilt is not None:
            self.spoilt.remove()

    async def restart(self, url: str) -> None:
        """The directory is all that there is of it."""
        directory = Path(urlsplit(url).path)
        shutil.rmtree(directory)
        directory.mkdir(0o700)

    async def spoil(self, url: str, service: str) -> None:
        """A file that a living process holds, as it must be, but that is cut short."""
        self.spoilt = OwnFile(Path(urlsplit(url).path))
        self.spoilt.put(b'{"pid": 1, "instances": [{"ser')


class TestStatic(RegistryConformance):
    @pytest.fixture
    def registry_url(self) -> str:
        return "static://?shop.v1.Inventory=127.0.0.1:1001"

    async def announce(self, owner: Registry, *instances: Instance) -> Registration:
        pytest.skip("static:// lists what its URL says and nothing else, for ever")


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


@pytest.mark.usefixtures("little_doubt")
class TestEtcd(RegistryConformance):
    crash_limit = 15.0
    """The lease has to run out: 2 s, and what etcd takes to notice."""

    @pytest.fixture
    def registry_url(self, etcd: EtcdServer) -> str:
        self.etcd = etcd
        base = urlsplit(etcd.url)
        return f"etcd://{base.netloc}/conformance-{secrets.token_hex(4)}?ttl=2"

    async def restart(self, url: str) -> None:
        await asyncio.to_thread(self.etcd.stop)
        await asyncio.to_thread(self.etcd.start)

    async def spoil(self, url: str, service: str) -> None:
        place = urlsplit(url)
        key = f"{place.path.strip('/')}/{service}/spoilt"
        process = await asyncio.create_subprocess_exec(
            find_binary("etcdctl"), f"--endpoints={place.netloc}", "put", key, '{"Op":0,"Add'
        )
        assert await process.wait() == 0


class TestDns(RegistryConformance):
    """Somebody else announces in the DNS, so here the registry is one that edits the zone."""

    crash_limit = 5.0

    @pytest_asyncio.fixture
    async def server(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DnsServer]:
        monkeypatch.setattr(inquiry, "DOUBT", 0.2)
        monkeypatch.setattr(lookup, "PER_SERVER", 0.5)
        async with DnsServer() as server:
            self.server, self.zone = server, Zone(server)
            yield server

    @pytest.fixture
    def registry_url(self, server: DnsServer, service: str) -> str:
        names = "&".join(f"{each}={each.lower()}" for each in (service, f"{service}Other"))
        return f"dns://?{names}&resolver={server.address}&min_ttl=0.05&max_ttl=0.1"

    def open(self, url: str, listener: Listener = ignore) -> Registry:
        return AnnouncingDns(url, listener, self.zone)

    def listed_as(self, instance: Instance) -> Instance:
        address = instance.address
        return Instance(instance.service, address, address, {"weight": weight_of(instance)})

    @asynccontextmanager
    async def living(self, url: str, *instances: Instance) -> AsyncIterator[Callable[[], None]]:
        """What keeps the zone notices a death: Kubernetes by its probes, Consul by its checks."""
        key = object()
        self.zone.announce(key, records(self.zone, instances))
        try:
            yield lambda: self.zone.announce(key, {})
        finally:
            self.zone.announce(key, {})

    async def restart(self, url: str) -> None:
        await self.server.stop()
        await self.server.start()

    async def spoil(self, url: str, service: str) -> None:
        host = self.zone.host("127.0.0.9")
        self.zone.announce(object(), {f"_grpc._tcp.{service.lower()}": [f"0 1 0 {host}."]})


class AnnouncingDns(DnsRegistry):
    """``dns://``, with a ``register`` that does what a platform does for its instances."""

    def __init__(self, url: str, listener: Listener, zone: Zone) -> None:
        super().__init__(url, listener)
        self.zone = zone
        self.registrations: list[Registration] = []

    async def register(self, instances: Sequence[Instance]) -> Registration:
        registration = InZone(self.zone)
        await registration.update(instances)
        self.registrations.append(registration)
        return registration

    async def close(self) -> None:
        for registration in self.registrations:
            await registration.close()
        await super().close()


class InZone(Registration):
    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.closed = False

    async def update(self, instances: Sequence[Instance]) -> None:
        if self.closed:
            raise RegistryError("this registration is closed")
        self.zone.announce(self, records(self.zone, instances))

    async def close(self) -> None:
        self.closed = True
        self.zone.announce(self, {})


def records(zone: Zone, instances: Sequence[Instance]) -> dict[str, list[str]]:
    """The SRV records of instances, by name."""
    found: dict[str, list[str]] = {}
    for one in instances:
        host, _, port = one.address.rpartition(":")
        record = f"0 {weight_of(one)} {port} {zone.host(host)}."
        found.setdefault(f"_grpc._tcp.{one.service.lower()}", []).append(record)
    return found


def weight_of(instance: Instance) -> int:
    """Its weight as a whole number, which is all that SRV can say."""
    weight = instance.metadata.get("weight", 1)
    assert isinstance(weight, int | float)
    return int(weight)
