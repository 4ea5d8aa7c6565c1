"""The etcd registry when etcd is dead, frozen, empty, locked or lying."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from seawall.errors import RegistryError, RegistryUnavailable
from seawall.events import RegistrationRestored, RegistryLost, RegistryRegained
from seawall.registry.etcd import backoff
from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.follow import Span, follow
from seawall.registry.etcd.rpc import GRANT, RANGE, TXN, Away, NoSuchLease
from seawall.registry.etcd.session import Session
from seawall.testing.etcd import EtcdCluster, EtcdServer, free_ports
from seawall.testing.registry import no_more_tasks_than
from tests.registry.etcd_fixtures import (
    LIMIT,
    OpenRegistry,
    Watching,
    away,
    fragile,
    instance,
    keys,
    namespace,
    opened,
    service,
    within,
)

__all__ = ["fragile", "namespace", "opened"]


async def test_killed_and_restarted(fragile: EtcdServer, opened: OpenRegistry) -> None:
    owner, other = opened(f"{fragile.url}?ttl=2"), opened(fragile.url)
    await owner.register([instance("i1"), instance("i1", name="Orders")])
    async with Watching(other) as watching:
        await watching.until("i1")
        await away(fragile.kill)
        lost = await other.told(RegistryLost)
        assert "connection refused" in lost.problem
        assert "is it running?" in str(other.problem)
        # Long enough for the lease to run out, by our clock.
        await _until_past(time.monotonic() + 3)
        await away(fragile.start)
        regained = await other.told(RegistryRegained)
        assert regained.outage >= 3
        # The lease has run out by our clock; but etcd was away itself, and may have it yet.
        await owner.told(RegistryRegained)
        assert len(await keys(fragile, "seawall")) == 2
        await other.register([instance("i2")])
        await watching.until("i1", "i2")
        assert [len(instances) for instances in watching.lists] == [1, 2]
    assert len(other.of(RegistryLost)) == len(other.of(RegistryRegained)) == 1
    assert owner.problem is None


async def test_a_short_outage_costs_no_lease(fragile: EtcdServer, opened: OpenRegistry) -> None:
    owner = opened(fragile.url)
    await owner.register([instance()])
    lease = owner.lease
    await away(fragile.kill)
    await owner.told(RegistryLost)
    await away(fragile.start)
    await owner.told(RegistryRegained)
    second = await owner.register([instance("i2")])
    assert owner.lease == lease
    await second.close()
    assert not owner.of(RegistrationRestored)


async def test_frozen_and_thawed(fragile: EtcdServer, opened: OpenRegistry) -> None:
    owner, other = opened(f"{fragile.url}?ttl=2"), opened(fragile.url)
    await owner.register([instance()])
    async with Watching(other) as watching:
        await watching.until("i1")
        fragile.pause()
        frozen = time.monotonic()
        await owner.told(RegistryLost)
        await _until_past(frozen + 3)
        fragile.resume()
        await owner.told(RegistryRegained)
        await owner.told(RegistrationRestored)
        assert len(await keys(fragile, "seawall")) == 1
        await owner.register([instance("i2")])
        await watching.until("i1", "i2")
        assert () not in watching.lists, "an outage emptied the list"


async def test_a_cluster_that_lost_everything(fragile: EtcdServer, opened: OpenRegistry) -> None:
    owner, other = opened(fragile.url), opened(fragile.url)
    for port in range(1, 20):  # a revision that the empty etcd won't reach soon
        registration = await owner.register([instance(port=port)])
    async with Watching(other) as watching:
        await watching.until("i1")
        await away(fragile.wipe)
        await away(fragile.start)
        await owner.told(RegistrationRestored)
        await registration.update([instance("i2")])
        await watching.until("i2")
        assert () not in watching.lists, "an outage emptied the list"


async def test_an_owner_that_dies_is_forgotten(fragile: EtcdServer, opened: OpenRegistry) -> None:
    owner, other = opened(f"{fragile.url}?ttl=2"), opened(fragile.url)
    await owner.register([instance("i1")])
    await other.register([instance("i2")])
    async with Watching(other) as watching:
        await watching.until("i1", "i2")
        assert owner._tenure is not None
        await owner._tenure.stop()  # as kill -9 would: no goodbye
        await watching.until("i2")


async def test_unreachable_at_register(opened: OpenRegistry) -> None:
    (port,) = free_ports(1)
    registry = opened(f"etcd://127.0.0.1:{port}")
    before = asyncio.all_tasks()
    started = time.monotonic()
    with pytest.raises(RegistryUnavailable) as error:
        await registry.register([instance()])
    assert 2.5 < time.monotonic() - started < 6
    assert f"etcd at 127.0.0.1:{port} does not answer (connection refused)" in str(error.value)
    assert "SEAWALL_REGISTRY" in str(error.value)
    await no_more_tasks_than(before)


async def test_a_cancelled_register_while_unreachable(opened: OpenRegistry) -> None:
    registry = opened(f"etcd://127.0.0.1:{free_ports(1)[0]}")
    before = asyncio.all_tasks()
    task = asyncio.create_task(registry.register([instance()]))
    await registry.told(RegistryLost)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await no_more_tasks_than(before)


async def test_a_watch_waits_for_etcd_to_come(opened: OpenRegistry) -> None:
    server = EtcdServer()
    try:
        registry = opened(server.url)
        async with Watching(registry) as watching:
            await registry.told(RegistryLost)
            assert "connection refused" in str(registry.problem)
            assert not watching.lists
            await away(server.start)
            await watching.until()
            assert registry.problem is None
    finally:
        await away(server.close)


async def test_goodbye_while_etcd_is_frozen(fragile: EtcdServer, opened: OpenRegistry) -> None:
    registry = opened(fragile.url)
    registration = await registry.register([instance()])
    fragile.pause()
    started = time.monotonic()
    await registration.close()
    assert time.monotonic() - started < 3
    fragile.resume()


async def test_a_dead_endpoint_among_others(fragile: EtcdServer, opened: OpenRegistry) -> None:
    dead = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    for _ in range(3):  # each starts at another endpoint
        registry = opened(f"etcd://{dead},{fragile.address}")
        registration = await registry.register([instance()])
        await registration.close()
        assert not registry.of(RegistryLost)


async def test_a_frozen_member_costs_no_lease(opened: OpenRegistry) -> None:
    async with EtcdCluster(3) as cluster:
        registry = opened(f"{cluster.url}?ttl=3")
        await registry.register([instance()])
        lease = registry.lease
        async with Watching(registry) as watching:
            await watching.until("i1")
            (member,) = [each for each in cluster.members if each.address == registry.endpoint]
            member.pause()
            # The keep-alive or the ping notices, and goes to another member.
            await _until(lambda: registry.endpoint_now not in (None, member.address))
            second = await registry.register([instance("i2")])
            await watching.until("i1", "i2")
            # Longer than the lease: it has been kept alive elsewhere.
            await _until_past(time.monotonic() + 3.5)
            await second.close()
            await watching.until("i1")
            member.resume()
            assert registry.lease == lease
        assert not registry.of(RegistrationRestored)
        await registry.close()


async def test_listings_that_are_given_up_do_no_harm(
    fragile: EtcdServer, opened: OpenRegistry
) -> None:
    """A transaction that only reads, given up in the middle, makes etcd 3.5.1 end itself."""
    registry = opened(fragile.url)
    await registry.register([instance(f"i{n}", filler="x" * 200) for n in range(100)])

    def all_keys() -> AsyncGenerator[Any, None]:
        return follow(registry._client, (Span(b"seawall/", b"seawall0"),), "")

    async def look(seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), aclosing(all_keys()) as changes:
                await anext(changes)

    for part in range(20):
        await asyncio.gather(*(look(0.002 * part) for _ in range(20)))
        assert fragile.running, fragile.log()
    async with Watching(registry) as watching:
        await watching.until(*(f"i{n}" for n in range(100)))


@pytest.mark.parametrize("then", ["update", "goodbye"])
async def test_a_write_that_arrives_late_counts_for_nothing(
    fragile: EtcdServer, opened: OpenRegistry, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """A frozen leader may carry a write out when it thaws, long after we have written again."""
    registry = opened(fragile.url)
    await registry.register([instance("other")])
    registration = await registry.register([instance(v=0)])
    lease = registry.lease
    real, held = Session.call, []

    async def call(self: Session, rpc: Any, request: Any) -> Any:
        if rpc is TXN and not held and b'"v":1' in request.SerializeToString():
            held.append(request)
            raise self.lost(Away("the answer does not come"))
        return await real(self, rpc, request)

    monkeypatch.setattr(Session, "call", call)
    await registration.update([instance(v=1)])
    assert held and registry.lease != lease
    assert f"{lease:x}" not in await away(fragile.etcdctl, "lease", "list")
    assert await keys(fragile, "seawall") == _as_written(registry)
    if then == "update":
        await registration.update([instance(v=2)])
    else:
        await registration.close()
    before = await keys(fragile, "seawall")
    session = await registry._client.session()
    with pytest.raises(NoSuchLease):
        await session.call(TXN, held[0])
    assert await keys(fragile, "seawall") == before
    assert len(before) == (2 if then == "update" else 1)
    assert not registry.of(RegistrationRestored)


def _as_written(registry: Any) -> dict[str, str]:
    """Keys and values as the registry believes that etcd has them."""
    return {k.decode(): e.value.decode() for k, e in registry._tenure._entries.items()}


async def test_what_is_given_up_while_the_lease_is_granted_is_not_put(
    fragile: EtcdServer, opened: OpenRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on, real = asyncio.Event(), asyncio.Event(), Session.call

    async def call(self: Session, rpc: Any, request: Any) -> Any:
        if rpc is GRANT:
            asked.set()
            await go_on.wait()
        return await real(self, rpc, request)

    monkeypatch.setattr(Session, "call", call)
    registry = opened(fragile.url)
    stays = asyncio.create_task(registry.register([instance("stays")]))
    goes = asyncio.create_task(registry.register([instance("goes")]))
    await asked.wait()
    goes.cancel()
    await asyncio.wait([goes], timeout=0.1)  # it says goodbye, which takes the lease too
    go_on.set()
    await within(stays)
    await asyncio.wait([goes])
    assert [key.rpartition("/")[2] for key in await keys(fragile, "seawall")] == ["stays"]


async def test_closing_in_an_outage_leaves_no_error_that_nobody_has_seen(
    opened: OpenRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    registry = opened(f"etcd://127.0.0.1:{free_ports(1)[0]}")
    registering = [
        asyncio.create_task(registry.register([instance(f"i{number}")])) for number in range(3)
    ]
    await registry.told(RegistryLost)
    await registry.close()
    results = await asyncio.gather(*registering, return_exceptions=True)
    assert all(isinstance(result, RegistryError) for result in results)
    del registering, results
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.fixture(scope="module")
def locked() -> Iterator[EtcdServer]:
    """An etcd with authentication: ``app`` may use the namespace ``seawall``."""
    with EtcdServer("--bcrypt-cost=4") as server:
        for command in (
            "user add root:root",
            "user grant-role root root",
            "user add app:secret",
            "role add app",
            "role grant-permission app readwrite seawall/ --prefix=true",
            "user grant-role app app",
            "auth enable",
        ):
            server.etcdctl(*command.split())
        yield server


async def test_with_user_and_password(locked: EtcdServer, opened: OpenRegistry) -> None:
    registry = opened(f"etcd://app:secret@{locked.address}")
    async with Watching(registry) as watching:
        await watching.until()
        registration = await registry.register([instance()])
        await watching.until("i1")
        assert registry._client.current is not None
        session = registry._client.current
        token = session._token
        # Every token is void from now on, over a connection that lives on.
        for command in ("disable", "enable"):
            await away(locked.etcdctl, "--user=root:root", "auth", command)
        await registration.update([instance("i2")])
        assert session._token != token
        assert registry._client.current is session, "a token that is void is no outage"
        await watching.until("i2")
        async with Watching(registry, "Orders") as orders:
            await orders.until()
    assert "secret" not in registry.url
    assert not registry.of(RegistryLost)


@pytest.mark.parametrize(
    ("credentials", "path", "words"),
    [
        ("app:wrong@", "", "the password of user 'app', or the user itself, is wrong"),
        ("", "", "it wants a user and a password"),
        ("app:secret@", "/other", "user 'app' needs read and write permission"),
    ],
)
async def test_what_etcd_refuses(
    locked: EtcdServer, opened: OpenRegistry, credentials: str, path: str, words: str
) -> None:
    registry = opened(f"etcd://{credentials}{locked.address}{path}")
    for attempt in (
        registry.register([instance()]),
        anext(aiter(registry.lists(service()))),
    ):
        with pytest.raises(RegistryError) as error:
            await within(_awaited(attempt))
        assert not isinstance(error.value, RegistryUnavailable)
        assert words in str(error.value)
        assert "secret" not in str(error.value)


async def test_a_permission_that_is_taken_away_stops_nobody(
    locked: EtcdServer, opened: OpenRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "REFUSED", (0.1, 0.2))
    registry = opened(f"etcd://app:secret@{locked.address}")
    role = ("--user=root:root", "role")
    prefix = ("seawall/", "--prefix=true")
    async with Watching(registry) as watching:
        await registry.register([instance()])
        await watching.until("i1")
        await away(locked.etcdctl, *role, "revoke-permission", "app", *prefix)
        assert registry._client.current is not None
        registry._client.current.lost(Away("the test cuts it"))
        lost = await registry.told(RegistryLost)
        assert "permission" in lost.problem
        assert registry.problem == lost.problem
        await away(locked.etcdctl, *role, "grant-permission", "app", "readwrite", *prefix)
        await registry.told(RegistryRegained)
        await registry.register([instance("i2")])
        await watching.until("i1", "i2")
        assert [len(instances) for instances in watching.lists][-2:] == [1, 2]


async def test_a_user_is_no_harm_without_authentication(
    fragile: EtcdServer, opened: OpenRegistry
) -> None:
    registry = opened(f"etcd://app:secret@{fragile.address}")
    await registry.register([instance()])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    where = tmp_path_factory.mktemp("tls")
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    _openssl(where, f"{new} -subj /CN=ca -keyout ca.key -out ca.pem")
    extra = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:false"
    for name in ("server", "client"):
        _openssl(
            where,
            f"{new} -subj /CN={name} {extra} -CA ca.pem -CAkey ca.key"
            f" -keyout {name}.key -out {name}.pem",
        )
    _openssl(where, "req -new -newkey rsa:2048 -nodes -subj /CN=old -keyout old.key -out old.csr")
    _openssl(where, "x509 -req -in old.csr -CA ca.pem -CAkey ca.key -days -1 -out old.pem")
    return where


async def test_mutual_tls(certificates: Path, opened: OpenRegistry) -> None:
    ca, cert, key = (certificates / name for name in ("ca.pem", "client.pem", "client.key"))
    arguments = [f"--{side}" for side in ("client-cert-auth", f"trusted-ca-file={ca}")]
    arguments += [f"--cert-file={certificates}/server.pem", f"--key-file={certificates}/server.key"]
    async with EtcdServer(*arguments, scheme="https") as server:
        registry = opened(f"{server.url}?ca={ca}&cert={cert}&key={key}")
        async with Watching(registry) as watching:
            await registry.register([instance()])
            await watching.until("i1")
        await registry.close()
        stranger = opened(f"{server.url}?ca={certificates}/client.pem&cert={cert}&key={key}")
        with pytest.raises(RegistryError, match="agree on TLS"):
            await stranger.register([instance()])
        await stranger.close()
        late = opened(
            f"{server.url}?ca={ca}&cert={certificates}/old.pem&key={certificates}/old.key"
        )
        for attempt in (late.register([instance()]), anext(aiter(late.watch(service())))):
            with pytest.raises(RegistryError, match=r"old\.pem has expired: renew it"):
                await within(_awaited(attempt))
        await late.close()
        nameless = opened(f"{server.url}?ca={ca}")
        with pytest.raises(RegistryError, match="agree on TLS: check ca, cert and key"):
            await nameless.register([instance()])
        await nameless.close()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ca={0}/none.pem", "none.pem can't be used (No such file or directory)"),
        ("ca={0}/empty.pem", "empty.pem can't be used"),
        ("cert={0}/empty.pem&key={0}/empty.pem", "empty.pem can't be used"),
    ],
)
async def test_bad_tls_files(tmp_path: Path, opened: OpenRegistry, query: str, words: str) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    registry = opened(f"etcd://127.0.0.1?{query.format(tmp_path)}")
    with pytest.raises(RegistryError) as error:
        await registry.register([instance()])
    assert words in str(error.value)


class _Liar(grpc.GenericRpcHandler):
    """An etcd that says it is well, and fails at whatever it is then asked for."""

    def __init__(self) -> None:
        self.reads = self.failures = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        if details.method == RANGE.path:
            return grpc.unary_unary_rpc_method_handler(
                self._read,
                request_deserializer=wire.RangeRequest.FromString,
                response_serializer=wire.RangeResponse.SerializeToString,
            )
        return grpc.unary_unary_rpc_method_handler(self._fail)

    async def _read(self, request: wire.RangeRequest, context: Any) -> wire.RangeResponse:
        self.reads += 1
        return wire.RangeResponse(header=wire.ResponseHeader(cluster_id=1, revision=1, raft_term=1))

    async def _fail(self, request: bytes, context: Any) -> bytes:
        self.failures += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out")
        raise AssertionError


@pytest.fixture
async def liar() -> AsyncIterator[tuple[_Liar, str]]:
    handler = _Liar()
    server = aio.server()
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield handler, f"etcd://127.0.0.1:{port}"
    await server.stop(None)


async def test_an_endpoint_that_lies_is_not_asked_in_a_tight_loop(
    opened: OpenRegistry, liar: tuple[_Liar, str]
) -> None:
    handler, url = liar
    registry = opened(url)
    with pytest.raises(RegistryUnavailable):
        await registry.register([instance()])
    assert 3 <= handler.failures < 20
    assert handler.reads < 20


async def _until_past(moment: float) -> None:
    """Time itself is what some tests are about: a lease has to run out."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _until(holds: Any) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(LIMIT):
        while not holds():
            await asyncio.sleep(0.02)


async def _awaited(attempt: Any) -> Any:
    return await attempt


def _openssl(where: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=where, check=True, capture_output=True)
