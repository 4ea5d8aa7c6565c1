"""A client that calls a service steadily, and remembers where each attempt went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from bench.discovery.roles import Action
from bench.echo import SERVICE, TEXT, EchoStub
from seawall import connect
from seawall.telemetry import names

TIMEOUT = 4.0
POLICY = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
            "seawall": {"idempotent": True},
        }
    ]
}


class Attempts(SpanProcessor):
    """Every attempt as its span tells it: address, start on the monotonic clock, status."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, float, str]] = []
        self._offset = time.monotonic() - time.time()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        facts = span.attributes or {}
        if names.ENDPOINT in facts and span.start_time is not None:
            sent = span.start_time / 1e9 + self._offset
            status = str(facts.get(names.STATUS_CODE))
            self.ended.append((str(facts[names.ENDPOINT]), sent, status))


class Caller:
    """Calls at a steady rate, each started on time whatever became of the others."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._attempts = Attempts()
        self._calls = 0
        self._failures: list[str] = []
        self._pacer: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"so_far": self.so_far, "went_to": self.went_to}

    async def open(self, url: str, rate: float) -> dict[str, Any]:
        provider = TracerProvider()
        provider.add_span_processor(self._attempts)
        trace.set_tracer_provider(provider)
        fleet = await self._stack.enter_async_context(connect(url, service_config=POLICY))
        stub = EchoStub(fleet)
        await stub.Say(StringValue(value=TEXT), timeout=TIMEOUT)
        self._pacer = asyncio.create_task(self._pace(stub, rate))
        return {}

    async def so_far(self) -> dict[str, Any]:
        """Calls and failed calls up to now."""
        return {"calls": self._calls, "failures": self._failures}

    async def went_to(self, address: str) -> list[tuple[float, str]]:
        """Attempts that have gone to an address since this was asked last: when, and status.

        Waits until all calls that are under way have ended.
        """
        if self._under_way:
            await asyncio.wait(tuple(self._under_way))
        ended, self._attempts.ended = self._attempts.ended, []
        return [(sent, status) for there, sent, status in ended if there == address]

    async def aclose(self) -> None:
        tasks = [*self._under_way, *([self._pacer] if self._pacer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _pace(self, stub: EchoStub, rate: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            task = asyncio.create_task(self._call(stub))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _call(self, stub: EchoStub) -> None:
        self._calls += 1
        try:
            await stub.Say(StringValue(value=TEXT), timeout=TIMEOUT)
        except grpc.RpcError as error:
            self._failures.append(str(error))
