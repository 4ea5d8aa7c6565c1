"""Fixtures for servers under attack."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from seawall.transport import keepalive
from tests.echo import EchoService
from tests.hostile import DefEcho, Target


@pytest.fixture(params=[EchoService, DefEcho])
async def target(request, registry, monkeypatch) -> AsyncIterator[Target]:
    """Once with ``async`` handlers and once with ``def`` handlers; checked at the test's end."""
    # gRPC answers malformed requests late on purpose, by up to a second.
    at_once = [("grpc.http.tarpit_min_duration_ms", 0), ("grpc.http.tarpit_max_duration_ms", 1)]
    monkeypatch.setattr(keepalive, "SERVER_OPTIONS", [*keepalive.SERVER_OPTIONS, *at_once])
    # A machine that is busy with other tests is no reason to refuse what these ask for.
    settings = {"host": "127.0.0.1", "unix_socket": False, "shedding": False, "grace": 0.2}
    async with request.param(registry=registry, **settings) as service:
        target = Target(service)
        await target.ready()
        yield target
        await target.unharmed()
