"""Servers on a thread of their own, and sync channels to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import seawall.sync
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.sync.servers import Servers


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a registry of this test's own; it works across event loops."""
    return f"local://{tmp_path}"


@pytest.fixture
def servers(url: str) -> Iterator[Servers]:
    with Servers(url) as running:
        yield running


@pytest.fixture
def channel(servers: Servers, url: str) -> Iterator[seawall.transport.sync.channel.Channel]:
    with seawall.sync.connect(url) as made:
        yield made


@pytest.fixture
def echo(channel) -> pb_grpc.EchoStub:
    return pb_grpc.EchoStub(channel)
