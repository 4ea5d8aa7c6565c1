"""What a handler leaves running when it has ended acts for its request no longer."""

import asyncio
import contextvars
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from grpc import StatusCode

import seawall
import seawall.sync
from seawall import NotFound
from seawall.context import inbound
from tests.echo import EchoService
from tests.hostile import ARITIES, DefEcho
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

LIMIT = 15.0
"""Seconds within which everything that is waited for must have happened."""
GIVEN = 1.5
"""Seconds that the front's caller gives; a call without a deadline of its own has 5."""
NO_RETRY = ("seawall-no-retry", "1")
REQUEST = pb.EchoRequest(text="hello", count=2)


async def ask(stub, name, **given):
    """A call of that method, to its end."""
    method = getattr(stub, name)
    if name == "Say":
        return await method(REQUEST, **given)
    if name == "Count":
        return [reply async for reply in method(REQUEST, **given)]
    if name == "Join":
        return await method(iter([REQUEST]), **given)
    return [reply async for reply in method(iter([REQUEST]), **given)]


class Below(EchoService):
    """Notes of each request whether it must not be repeated."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.alone = []

    async def enter(self, name, request, context):
        self.alone.append(NO_RETRY in tuple(context.invocation_metadata()))
        await super().enter(name, request, context)


@pytest.fixture
async def below(registry):
    async with Below(registry=f"{registry}-below") as service:
        yield service


class Leaver:
    """A hook of ``async`` handlers that calls below, and leaves a task that does so later."""

    def __init__(self, stub):
        self._stub = stub
        self.go = asyncio.Event()
        self.within = None

    async def __call__(self, name, context):
        self.served = inbound.get()
        self.within = (await self._stub.Say(REQUEST)).remaining
        self.task = asyncio.create_task(self._later())

    async def _later(self):
        await self.go.wait()
        return (await self._stub.Say(REQUEST)).remaining

    async def left(self):
        """What time the call has that is begun now."""
        self.go.set()
        return await self.task


@pytest.fixture
async def leaver(below):
    async with seawall.connect(f"static://{below.address}") as channel:
        yield Leaver(pb_grpc.EchoStub(channel))


@pytest.mark.parametrize("name", ARITIES)
async def test_a_tasks_calls_are_bound_until_its_handler_ends(start, echo, below, leaver, name):
    (await start()).hook = leaver
    async with asyncio.timeout(LIMIT):
        await ask(echo, name, timeout=GIVEN, metadata=(NO_RETRY,))
        assert 0 < leaver.within < GIVEN < await leaver.left()
    assert below.alone == [True, False]


async def test_so_it_is_if_the_handler_raises(start, echo, below, leaver):
    async def hook(name, context):
        await leaver(name, context)
        raise NotFound("nothing here")

    (await start()).hook = hook
    async with asyncio.timeout(LIMIT):
        with pytest.raises(NotFound):
            await echo.Say(REQUEST, timeout=GIVEN, metadata=(NO_RETRY,))
        assert 0 < leaver.within < GIVEN < await leaver.left()
    assert below.alone == [True, False]


@pytest.mark.parametrize("name", ["Say", "Count"])
async def test_so_it_is_if_the_caller_has_gone(start, echo, below, leaver, name):
    service = await start()
    service.hook = leaver
    async with asyncio.timeout(LIMIT):
        with pytest.raises(seawall.CallError) as failed:
            slow = pb.EchoRequest(delay=30, count=1)
            call = getattr(echo, name)(slow, timeout=0.5, metadata=(NO_RETRY,))
            await call if name == "Say" else [reply async for reply in call]
        assert failed.value.code() is StatusCode.DEADLINE_EXCEEDED
        await service.cancelled.wait()
        assert 0 < leaver.within < 0.5 < GIVEN < await leaver.left()
    assert below.alone == [True, False]


async def test_a_stream_is_bound_to_its_end(start, echo, below, leaver):
    go_on = asyncio.Event()

    async def hook(name, context):
        await leaver(name, context)
        await go_on.wait()

    (await start()).hook = hook
    async with asyncio.timeout(LIMIT):
        call = echo.Count(REQUEST, timeout=GIVEN, metadata=(NO_RETRY,))
        while leaver.within is None:
            await asyncio.sleep(0.001)
        assert 0 < await leaver.left() < GIVEN
        go_on.set()
        assert len([reply async for reply in call]) == 2
    assert below.alone == [True, True]


class DefLeaver(DefEcho):
    """Its ``def`` handlers call below, and leave a thread that does so later."""

    def __init__(self, stub, **settings):
        super().__init__(**settings)
        self._stub = stub
        self._pool = ThreadPoolExecutor(1)
        self._go = threading.Event()
        self.within = None

    async def on_stop(self):
        self._go.set()
        self._pool.shutdown(wait=False)

    def enter(self):
        self.within = self._stub.Say(REQUEST).remaining
        self.thread = self._pool.submit(contextvars.copy_context().run, self._later)

    def _later(self):
        self._go.wait(LIMIT)
        return self._stub.Say(REQUEST).remaining

    async def left(self):
        """What time the call has that is begun now."""
        self._go.set()
        return await asyncio.wrap_future(self.thread)

    def Say(self, request, context):
        self.enter()
        return super().Say(request, context)

    def Count(self, request, context):
        self.enter()
        yield from super().Count(request, context)

    def Join(self, request_iterator, context):
        self.enter()
        return super().Join(request_iterator, context)

    def Chat(self, request_iterator, context):
        self.enter()
        yield from super().Chat(request_iterator, context)


@pytest.fixture
async def beneath(below):
    with seawall.sync.connect(f"static://{below.address}") as channel:
        yield pb_grpc.EchoStub(channel)


@pytest.mark.parametrize("name", ARITIES)
async def test_a_threads_calls_are_bound_until_its_handler_ends(
    echo, registry, below, beneath, name
):
    async with asyncio.timeout(LIMIT), DefLeaver(beneath, registry=registry) as service:
        await ask(echo, name, timeout=GIVEN, metadata=(NO_RETRY,))
        assert 0 < service.within < GIVEN < await service.left()
    assert below.alone == [True, False]


class DefLate(DefLeaver):
    """Its handlers notice that their caller has gone, and only then call below."""

    def __init__(self, stub, **settings):
        super().__init__(stub, **settings)
        self.began, self.noticed = asyncio.Event(), Future()
        self._loop = asyncio.get_running_loop()

    def notice(self):
        self.enter()
        self.served = inbound.get()
        self.noticed.set_result(True)

    def Count(self, request, context):
        try:
            while True:
                yield pb.EchoReply(text="more")
        finally:
            self.notice()

    def Join(self, request_iterator, context):
        self._loop.call_soon_threadsafe(self.began.set)
        try:
            return super(DefLeaver, self).Join(request_iterator, context)
        finally:
            self.notice()

    def Chat(self, request_iterator, context):
        try:
            yield from super(DefLeaver, self).Chat(request_iterator, context)
        finally:
            self.notice()


@pytest.mark.parametrize("name", ["Count", "Join", "Chat"])
async def test_a_def_handler_that_outlasts_its_call_is_bound_to_its_own_end(
    echo, registry, below, beneath, name
):
    async with asyncio.timeout(LIMIT), DefLate(beneath, registry=registry) as service:
        method, given = getattr(echo, name), {"timeout": LIMIT / 5, "metadata": (NO_RETRY,)}
        call = method(REQUEST, **given) if name == "Count" else method(**given)
        if name != "Count":
            await call.write(REQUEST)
        await (service.began.wait() if name == "Join" else call.read())
        call.cancel()
        await asyncio.wrap_future(service.noticed)
        assert 0 < service.within < LIMIT / 5
        while service.served.alone:
            await asyncio.sleep(0.001)
        assert await service.left() > LIMIT / 5
    assert below.alone == [True, False]


class Endless:
    """An iterator of responses that can't be closed."""

    def __iter__(self):
        return self

    def __next__(self):
        return pb.EchoReply(text="more")


class DefEndless(DefEcho):
    def Count(self, request, context):
        self.served = inbound.get()
        return Endless()


async def test_a_stream_that_cannot_be_closed_is_over_when_its_caller_goes(echo, registry):
    async with asyncio.timeout(LIMIT), DefEndless(registry=registry) as service:
        call = echo.Count(REQUEST, timeout=LIMIT, metadata=(NO_RETRY,))
        assert (await call.read()).text == "more"
        assert service.served.alone and service.served.deadline is not None
        call.cancel()
        while service.served.alone:
            await asyncio.sleep(0.001)
        assert service.served.deadline is None
