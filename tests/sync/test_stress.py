"""A hundred threads at once, with faults: nothing is lost, nothing leaks, nobody waits for ever."""

import asyncio
import contextlib
import itertools
import random
import threading
from collections import Counter
from functools import partial

import grpc
import pytest
from grpc import StatusCode

import seawall
import seawall.sync
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import LIMIT, Caller, connected, until

FAILURES = (
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.RESOURCE_EXHAUSTED,  # the server sheds what is too much for it
)
THREADS = 100
CALLS = 12


class Trouble:
    """A hook that makes every so manieth call fail, be slow, or hang until it is given up."""

    def __init__(self):
        self._calls = itertools.count()

    async def __call__(self, name, context):
        number = next(self._calls)
        if number % 7 == 3:
            await context.abort(StatusCode.UNAVAILABLE, "trouble")
        if number % 11 == 5:
            pushback = (("grpc-retry-pushback-ms", "3"),)
            await context.abort(StatusCode.UNAVAILABLE, "vouched", pushback)
        if number % 13 == 6:
            await asyncio.sleep(0.05)
        if number % 41 == 17:
            await asyncio.sleep(30)


CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "seawall.tests.Echo"}],
            "seawall": {"bulkhead": {"maxConcurrent": 60, "maxQueue": 200}},
        }
    ],
    "seawall": {"retryBudget": {"ratio": 1.0, "minRetriesPerSecond": 1000}},
}


class Storm:
    """Threads that make calls of every kind, and what came of them."""

    def __init__(self, echo):
        self.echo = echo
        self.counts = Counter()
        self._lock = threading.Lock()

    def note(self, what):
        with self._lock:
            self.counts[what] += 1

    def work(self, seed):
        draw = random.Random(seed)
        kinds = [self.block, self.wait, self.read, self.upload, self.fall_back]
        for number in range(CALLS):
            text, timeout = f"{seed}-{number}", draw.choice([1.0, 2.0])
            try:
                self.note(draw.choice(kinds)(pb.EchoRequest(text=text), text, timeout))
            except grpc.RpcError as error:
                assert error.code() in FAILURES
                self.note("failed")

    def block(self, request, text, timeout):
        assert self.echo.Say(request, timeout=timeout).text == text
        return "answered"

    def wait(self, request, text, timeout):
        assert self.echo.Say.future(request, timeout=timeout).result(LIMIT).text == text
        return "answered"

    def read(self, request, text, timeout):
        call = self.echo.Count(pb.EchoRequest(count=3), timeout=timeout)
        assert [reply.text for reply in call] == ["0", "1", "2"]
        return "answered"

    def upload(self, request, text, timeout):
        assert self.echo.Join(iter([request, request]), timeout=timeout).text == f"{text},{text}"
        return "answered"

    def fall_back(self, request, text, timeout):
        with seawall.options(fallback=lambda *_: pb.EchoReply(text="own")):
            reply = self.echo.Charge(request, timeout=timeout)
        assert reply.text in (text, "own")
        return "own" if reply.text == "own" else "answered"


@pytest.mark.timeout(120)
def test_a_hundred_threads_with_faults(servers, url):
    services = [servers.start() for _ in range(3)]
    with seawall.sync.connect(url, service_config=CONFIG) as channel:
        storm = Storm(pb_grpc.EchoStub(channel))
        connected(channel, 3)
        for service in services:
            service.hook = Trouble()
        for caller in [Caller(partial(storm.work, seed)) for seed in range(THREADS)]:
            caller.join(60)
        counts = storm.counts
        assert counts.total() == THREADS * CALLS
        assert counts["answered"] > THREADS * CALLS * 0.85 and counts["own"], counts
        group = channel.discoveries[0].group
        until(lambda: [e.outstanding for e in group.endpoints] == [0, 0, 0])
        until(lambda: not channel.calls.active and not channel.calls.streams)
        lines = [endpoint.transport._line for endpoint in group.endpoints]
        until(lambda: not any(line.users for line in lines))


def cancel_at_random(echo, seed):
    draw = random.Random(seed)
    for _ in range(20):
        if draw.random() < 0.5:
            call = echo.Say.future(pb.EchoRequest(text="x"))
            wait = partial(call.result, LIMIT)
        else:
            call = echo.Chat(pb.EchoRequest(text=str(n)) for n in range(50))
            wait = partial(list, call)
        canceller = threading.Timer(draw.random() * 0.004, call.cancel)
        canceller.start()
        with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
            wait()
        canceller.join()
        call.cancel()
        assert call.done()


def test_cancelled_at_any_moment(servers, echo, channel):
    """Futures and streams that are cancelled by one thread while others step them."""
    service = servers.start()
    service.hook = Trouble()
    connected(channel, 1)

    for caller in [Caller(partial(cancel_at_random, echo, seed)) for seed in range(10)]:
        caller.join()
    endpoint = channel.discoveries[0].group.endpoints[0]
    until(lambda: endpoint.outstanding == 0)
    until(lambda: not endpoint.transport._line.users and not channel.calls.active)


def test_closed_while_a_hundred_threads_call(servers, url):
    for _ in range(2):
        servers.start()
    channel = seawall.sync.connect(url)
    echo = pb_grpc.EchoStub(channel)
    connected(channel, 2)
    begun = threading.Semaphore(0)

    def work():
        with pytest.raises((grpc.RpcError, ValueError)) as caught:
            while True:
                begun.release()
                echo.Say(pb.EchoRequest(text="x", delay=0.01))
        assert "closed" in str(caught.value)

    callers = [Caller(work) for _ in range(THREADS)]
    for _ in range(2 * THREADS):
        assert begun.acquire(timeout=LIMIT)
    channel.close()
    for caller in callers:
        caller.join()
    assert channel.calls.background.ended.is_set() and not channel.calls.active
