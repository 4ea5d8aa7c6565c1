"""Ready is who has what it requires: in the registry, in the health protocol, and back again."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seawall
from seawall import Service, client
from seawall.errors import RegistryUnavailable
from seawall.events import Repair, ServiceNotReady, ServiceReady
from seawall.registry.memory import MemoryRegistry
from seawall.server.health.servicer import NOT_SERVING, SERVING
from seawall.server.lifecycle import Server
from seawall.server.readiness import standing, watch
from seawall.server.readiness.standing import AWAY_FOR, WAITS_FOR, Gate, Standing, describe, lacks
from tests.echo import EchoService
from tests.heard import Heard
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

ECHO, RELAY = "seawall.tests.Echo", "seawall.tests.Relay"
REQUEST = pb.EchoRequest(text="hello")


class Relay(Service, pb_grpc.RelayServicer):
    """Can't do without an Echo service."""

    echo = client(pb_grpc.EchoStub, required=True)

    def __init__(self, **settings):
        self.heard = Heard()
        super().__init__(
            **{"settle": 0.0, "dependency_timeout": 0.05, "listener": self.heard, **settings}
        )

    async def Forward(self, request, context):
        return await self.echo.Say(request)


class Mutual(EchoService):
    """An Echo service that can't do without a Relay service."""

    relay = client(pb_grpc.RelayStub, required=True)


class Checked(EchoService):
    """Asks what it is told to ask."""

    def __init__(self, **settings):
        self.heard = Heard()
        super().__init__(**{"listener": self.heard, **settings})
        self.answer = True

    async def is_ready(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer == "never":
            await asyncio.Event().wait()
        return self.answer


class Watcher:
    """What a client sees of a service."""

    def __init__(self, registry, stub):
        self.channel = seawall.connect(registry)
        self.stub = stub(self.channel)

    @property
    def group(self):
        return self.channel.discoveries[0].group

    def facts(self):
        (endpoint,) = self.group.endpoints
        return endpoint.instance.metadata

    async def until(self, holds):
        async with asyncio.timeout(20):
            while not holds():
                await self.channel.discoveries[0].change()


@pytest.fixture
async def relays(registry):
    made = Watcher(registry, pb_grpc.RelayStub)
    yield made
    await made.channel.close()


@pytest.fixture
async def echoes(registry):
    made = Watcher(registry, pb_grpc.EchoStub)
    yield made
    await made.channel.close()


@pytest.fixture
def quick(monkeypatch):
    """What is seen counts at once, nearly."""
    monkeypatch.setattr(standing, "AWAY_FOR", 0.01)
    monkeypatch.setattr(watch, "CHECK_EVERY", 0.01)
    monkeypatch.setattr(watch, "CHECK_TIMEOUT", 0.05)


def statuses(service):
    return set(service.server.health.statuses.values())


async def test_without_what_it_requires_a_service_is_announced_as_paused(registry, relays, start):
    async with Relay(registry=registry) as relay:
        await relays.until(lambda: relays.group.endpoints)
        assert relays.facts()["paused"] is True
        assert relays.facts()[WAITS_FOR] == [[ECHO]]
        assert statuses(relay) == {NOT_SERVING}
        assert not relay.server.ready(relay)
        (told,) = relay.heard.of(ServiceNotReady)
        assert (told.service, told.reason) == (RELAY, f"no instance of {ECHO} takes calls")

        await start()
        back = await relay.heard.told(ServiceReady)
        assert isinstance(back, Repair) and back.kind == "readiness" and back.away > 0
        await relays.until(lambda: relays.group.ready)
        assert WAITS_FOR not in relays.facts() and "paused" not in relays.facts()
        assert statuses(relay) == {SERVING}
        assert (await relays.stub.Forward(REQUEST)).text == "hello"


async def test_what_it_requires_leaves_and_comes_back(registry, relays, start, quick):
    echo = await start()
    async with Relay(registry=registry) as relay:
        await relays.until(lambda: relays.group.ready)
        assert not relay.heard.of(ServiceNotReady)
        for times in (1, 2):
            await echo.stop()
            await relay.heard.told(ServiceNotReady, times)
            await relays.until(lambda: not relays.group.ready)
            echo = await start()
            await relay.heard.told(ServiceReady, times)
            await relays.until(lambda: relays.group.ready)
        assert (await relays.stub.Forward(REQUEST)).text == "hello"


async def test_a_paused_dependency_is_none(registry, relays, start, quick):
    echo = await start()
    async with Relay(registry=registry) as relay:
        await echo.pause()
        await relay.heard.told(ServiceNotReady)
        await relays.until(lambda: not relays.group.ready)
        await echo.resume()
        await relays.until(lambda: relays.group.ready)
        assert relay.server.ready(relay)


async def test_a_users_pause_stays_whatever_is_ready(registry, relays, start, quick):
    async with Relay(registry=registry) as relay:
        await relay.pause()
        await relays.until(lambda: relays.group.endpoints and WAITS_FOR not in relays.facts())
        assert relays.facts()["paused"] is True, "its user's pause is not waited for"
        await start()
        await relay.heard.told(ServiceReady)
        assert relay.server.ready(relay)
        assert statuses(relay) == {NOT_SERVING}
        await relay.resume()
        await relays.until(lambda: relays.group.ready)
        assert statuses(relay) == {SERVING}


async def test_resume_does_not_make_it_ready(registry, relays):
    async with Relay(registry=registry) as relay:
        await relay.pause()
        await relay.resume()
        await relays.until(lambda: relays.group.endpoints and WAITS_FOR in relays.facts())
        assert statuses(relay) == {NOT_SERVING}


async def test_two_that_require_each_other_become_ready(registry, relays, echoes):
    async with Relay(registry=registry), Mutual(registry=registry, dependency_timeout=0.05):
        await relays.until(lambda: relays.group.ready)
        await echoes.until(lambda: echoes.group.ready)
        assert (await relays.stub.Forward(REQUEST)).text == "hello"


async def test_what_a_process_serves_itself_it_need_not_wait_for(registry, relays):
    class Both(EchoService, pb_grpc.RelayServicer):
        echo = client(pb_grpc.EchoStub, required=True)

        async def Forward(self, request, context):
            return await self.echo.Say(request)

    async with Both(registry=registry):
        assert (await relays.stub.Forward(REQUEST)).text == "hello"


async def test_services_of_one_process_are_ready_on_their_own(registry, echoes, relays):
    class Needy(Relay):
        nobody = client(_stub_of_nobody, required=True)

    needy = Needy(registry=registry)
    server = Server([EchoService(registry=registry), needy], needy._settings)
    await server.start()
    try:
        assert server.health.statuses == {"": SERVING, ECHO: SERVING, RELAY: NOT_SERVING}
        assert (await echoes.stub.Say(REQUEST)).text == "hello"
        await relays.until(lambda: relays.group.endpoints)
        assert relays.facts()[WAITS_FOR] == [["no.Body"]]
    finally:
        await server.stop()


def _stub_of_nobody(channel):
    return SimpleNamespace(
        Call=channel.unary_unary("/no.Body/Call", lambda _: b"", lambda data: data)
    )


async def test_a_required_client_that_tells_no_method_is_refused(registry):
    class Lazy(EchoService):
        other = client(lambda channel: object(), required=True)

    with pytest.raises(seawall.ServiceError, match=r"Lazy\.other is required, and its stub"):
        await Lazy(registry=registry).start()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (False, "is_ready() says no"),
        ("the cache is cold", "the cache is cold"),
        (RuntimeError("no database"), "is_ready() raised RuntimeError('no database')"),
        (TimeoutError(), "is_ready() raised TimeoutError()"),
        (None, "is_ready() returned None: it must be True, False or a reason why not"),
        ("never", "is_ready() took longer than 0.05 s"),
    ],
    ids=str,
)
async def test_a_check_of_the_services_own(registry, echoes, quick, answer, reason, caplog):
    service = Checked(registry=registry)
    service.answer = answer
    async with service:
        (told,) = service.heard.of(ServiceNotReady)
        assert (told.service, told.reason) == (ECHO, reason)
        await echoes.until(lambda: echoes.group.endpoints)
        assert echoes.facts()["paused"] is True and WAITS_FOR not in echoes.facts()
        service.answer = True
        await echoes.until(lambda: echoes.group.ready)
        assert statuses(service) == {SERVING}
        service.answer = answer
        await service.heard.told(ServiceNotReady, 2)
        await echoes.until(lambda: not echoes.group.ready)
    raised = [r for r in caplog.records if "is_ready() of" in r.getMessage()]
    assert len(raised) == (2 if isinstance(answer, Exception) else 0)
    assert all(r.exc_info for r in raised)


async def test_a_reason_that_differs_each_time_is_told_once(registry, quick):
    asked = asyncio.Semaphore(0)

    class Counting(Checked):
        async def is_ready(self):
            asked.release()
            return f"{id(object())} and counting"

    class Counted(MemoryRegistry):
        writes = 0

        async def register(self, instances):
            registration = await super().register(instances)
            update = registration.update

            async def counted(instances):
                Counted.writes += 1
                await update(instances)

            registration.update = counted
            return registration

    async with Counting(registry=Counted(registry)) as service, asyncio.timeout(20):
        for _ in range(10):
            await asked.acquire()
        assert len(service.heard.of(ServiceNotReady)) == 1
    assert Counted.writes == 0


async def test_readiness_survives_a_registry_that_is_away(registry, start, quick, caplog):
    echo = await start()

    class Away(MemoryRegistry):
        async def register(self, instances):
            registration = await super().register(instances)

            async def update(instances):
                if failures:
                    raise failures.pop()
                told.set()

            registration.update = update
            return registration

    failures = [RuntimeError("a mistake"), RegistryUnavailable("away")]
    told = asyncio.Event()
    async with Relay(registry=Away(registry)) as relay, asyncio.timeout(20):
        for times in (1, 2):
            await echo.stop()
            await relay.heard.told(ServiceNotReady, times)
            echo = await start()
            await relay.heard.told(ServiceReady, times)
            while statuses(relay) != {SERVING}:
                await asyncio.sleep(0)
        await told.wait()
    assert caplog.text.count("the registry failed at its readiness") == 1


async def test_a_stop_ends_all_of_it(registry, start):
    await start()
    service = Checked(registry=registry)
    async with service, Relay(registry=registry):
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {f"check of {ECHO}", f"readiness of {ECHO}", f"readiness of {RELAY}"} <= names
    left = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in left if name.startswith(("check of", "readiness of"))]


async def test_a_start_that_is_given_up_in_the_check_leaves_nothing(registry):
    service = Checked(registry=registry)
    service.answer = "never"
    starting = asyncio.ensure_future(service.start())
    await asyncio.wait((starting,), timeout=0.2)
    async with asyncio.timeout(5):
        await service.stop()
        with pytest.raises(asyncio.CancelledError):
            await starting


def test_a_lack_counts_when_it_has_lasted():
    gate = Gate(ready=True)
    assert gate.see(True, 0.0) and gate.due(0.0) is None
    assert gate.see(False, 10.0)
    assert gate.due(10.4) == pytest.approx(AWAY_FOR - 0.4)
    assert gate.see(True, 10.9)
    assert gate.see(False, 11.0) and gate.see(False, 11.9)
    assert not gate.see(False, 11.0 + AWAY_FOR)
    assert gate.due(12.0) is None
    assert gate.see(True, 13.0), "it is back at once"
    assert gate.see(False, 13.1), "and the next lack must last as well"


def instance(*, ready=True, paused=False, waits_for=None):
    return SimpleNamespace(ready=ready, paused=paused, waits_for=waits_for)


GONE = (("B",),)


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([], GONE),
        ([instance()], ()),
        ([instance(ready=False)], GONE),
        ([instance(paused=True)], GONE),
        ([instance(paused=True), instance()], ()),
        ([instance(paused=True, waits_for=[["D"]])], (("B", "D"),)),
        ([instance(paused=True, waits_for=[["C", "A"]])], ()),
        ([instance(paused=True, waits_for=[["A"], ["D"]])], (("B", "D"),)),
        ([instance(ready=False, paused=True, waits_for=[["A"]])], GONE),
        ([instance(ready=False), instance(paused=True, waits_for=[["D"]])], (("B", "D"),)),
        # Facts are hearsay: what makes no sense is no wait.
        ([instance(paused=True, waits_for="A")], GONE),
        ([instance(paused=True, waits_for=[])], GONE),
        ([instance(paused=True, waits_for=["A"])], GONE),
        ([instance(paused=True, waits_for=[["A", 7]])], GONE),
        ([instance(paused=True, waits_for=[[]])], GONE),
        ([instance(paused=True, waits_for=[["A"] * 1000])], GONE),
        ([instance(paused=True, waits_for=[["A"]] * 1000)], GONE),
    ],
)
def test_what_is_lacking(instances, expected):
    assert lacks([("B", instances)], {"A"}) == expected


names = st.integers(0, 5)


@given(
    needs=st.dictionaries(names, st.sets(names, max_size=3), min_size=1),
    gone=st.sets(names, max_size=2),
    order=st.lists(names, min_size=1),
)
def test_in_the_end_those_are_ready_who_could_be(needs, gone, order):
    """However services require each other, and in whatever order they hear of it."""
    present = {name: needs.get(name, set()) - {name} for name in range(6) if name not in gone}
    standings = {name: Standing(lacks=(("?",),)) for name in present}

    def hear(name: int) -> None:
        required = [
            (str(other), [_seen(standings[other])] if other in present else [])
            for other in sorted(present[name])
        ]
        standings[name] = Standing(lacks=lacks(required, {str(name)}))

    for name in [*order, *(list(range(6)) * 20)]:
        if name in present:
            hear(name)
    could = set(present)
    while lacking := {name for name in could if not present[name] <= could}:
        could -= lacking
    assert {name for name, standing in standings.items() if standing.ready} == could


def _seen(standing):
    facts = standing.facts
    return instance(paused=facts["paused"] is True, waits_for=facts[WAITS_FOR])


def test_a_way_in_words():
    assert describe(("shop.Prices",)) == "no instance of shop.Prices takes calls"
    assert describe(("shop.Cart", "shop.Prices")) == "shop.Cart waits for shop.Prices"
    standing = Standing(lacks=(("a.A",), ("b.B", "c.C")), problem="no disk")
    assert standing.reason == "no instance of a.A takes calls; b.B waits for c.C; no disk"
    assert standing.facts == {"paused": True, WAITS_FOR: None}
