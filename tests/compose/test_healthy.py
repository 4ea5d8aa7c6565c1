"""The health check of the image, against real gRPC servers and against what is none."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from services import healthy
from services.healthy import HOST, NotHealthy, check


@contextlib.contextmanager
def grpc_server(status: int | None) -> Iterator[int]:
    """The port of a server that says ``status``; None: one without the health protocol."""
    with futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        if status is not None:
            servicer = health.HealthServicer()
            servicer.set("", status)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port(f"{HOST}:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait(10)


@contextlib.contextmanager
def answering(*parts: bytes, pause: float = 0.0) -> Iterator[int]:
    """The port of somebody who says ``parts``, ``pause`` seconds between them, to the first."""
    over = threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            for part in parts:
                connection.sendall(part)
                if over.wait(pause):
                    return

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join(10)
    assert not thread.is_alive()


def test_a_server_that_serves_is_healthy() -> None:
    with grpc_server(HealthCheckResponse.SERVING) as port:
        check(HOST, port)


@pytest.mark.parametrize("status", ["NOT_SERVING", "UNKNOWN", "SERVICE_UNKNOWN"])
def test_a_server_that_says_that_it_does_not_serve(status: str) -> None:
    with grpc_server(HealthCheckResponse.ServingStatus.Value(status)) as port:
        with pytest.raises(NotHealthy, match="does not serve"):
            check(HOST, port)


def test_a_server_without_the_health_protocol() -> None:
    with grpc_server(None) as port:
        with pytest.raises(NotHealthy, match="error"):
            check(HOST, port)


def test_nobody_listens() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotHealthy, match="refused"):
        check(HOST, port)


def test_a_server_that_is_frozen() -> None:
    with socket.create_server((HOST, 0)) as listener:  # the kernel accepts, nobody answers
        with pytest.raises(NotHealthy, match=r"no answer within 0\.2 s"):
            check(HOST, listener.getsockname()[1], patience=0.2)


def test_the_patience_is_for_the_whole_answer() -> None:
    settings = b"\0\0\0\4\0\0\0\0\0"
    with answering(*[settings] * 1000, pause=0.05) as port:
        began = time.monotonic()
        with pytest.raises(NotHealthy, match="no answer"):
            check(HOST, port, patience=0.3)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/2"),
        (b"", "closed"),
        (b"\0\0\0\4", "closed"),
        (b"\0\0\0\7\0\0\0\0\0", "leave"),
        (b"\0\0\4\3\0\0\0\0\1\0\0\0\2", "error"),
        (b"\0\x40\0\0\0\0\0\0\1" + b"\xff" * 0x4000 + b"\0\0\1\0\0\0\0\0\1\xff", "something else"),
        (b"\0\0\0\0\x08\0\0\0\1" + b"\0\0\1\0\x08\0\0\0\1\xff", "closed"),
    ],
)
def test_what_is_no_answer(said: bytes, why: str) -> None:
    with answering(said) as port:
        with pytest.raises(NotHealthy, match=why):
            check(HOST, port)


def test_an_answer_in_pieces_and_with_padding() -> None:
    message = b"\0\0\0\0\2\x08\x01"
    padded = b"\0\0\x0a\0\x08\0\0\0\1\2" + message + b"\0\0"
    with answering(*(bytes([byte]) for byte in padded), pause=0.001) as port:
        check(HOST, port)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with grpc_server(HealthCheckResponse.SERVING) as port:
        monkeypatch.setenv("SEAWALL_PORT", str(port))
        assert healthy.main() == 0
    monkeypatch.setenv("SEAWALL_PORT", "none")
    assert healthy.main() == 1
    assert "127.0.0.1:none" in capsys.readouterr().err


def test_it_imports_nothing_that_is_slow() -> None:
    code = "import sys, services.healthy; print(*{'grpc', 'google', 'asyncio'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == []
