"""The endpoint, by sockets: what it answers, and to whom it does not listen for long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from seawall.errors import ConfigError, ServiceError
from seawall.telemetry import endpoint as module
from seawall.telemetry.endpoint import MOST_CONNECTIONS, Endpoint, parse_address, serve_metrics

LIMIT = 10.0
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint("127.0.0.1", 0, lambda: b"some 1\n")
    yield served
    served.close()


def connect(endpoint: Endpoint) -> socket.socket:
    host, port = parse_address(endpoint.address)
    return socket.create_connection((host, port), timeout=LIMIT)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, well or not."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def asked(endpoint: Endpoint, request: bytes) -> tuple[bytes, bytes]:
    """The status and the body."""
    with connect(endpoint) as connection:
        connection.sendall(request)
        head, _, body = answer(connection).partition(b"\r\n\r\n")
        return head.split(b"\r\n")[0].removeprefix(b"HTTP/1.1 "), body


def test_metrics_are_given(endpoint):
    with connect(endpoint) as connection:
        connection.sendall(GET)
        head, _, body = answer(connection).decode().partition("\r\n\r\n")
    assert body == "some 1\n"
    lines = head.split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in lines
    assert "Content-Length: 7" in lines and "Connection: close" in lines


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (b"GET /metrics?name[]=x HTTP/1.1\r\n\r\n", b"200 OK", b"some 1\n"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200 OK", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found", b"the metrics are at /metrics\n"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed", b""),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request", b"this is HTTP/1.1\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400 Bad Request", b"this is HTTP/1.1\n"),
        (b"\xff\x00\x80\r\n\r\n", b"400 Bad Request", b"this is HTTP/1.1\n"),
    ],
)
def test_other_requests(endpoint, request_, status, body):
    assert asked(endpoint, request_) == (status, body)


def test_a_request_in_pieces(endpoint):
    with connect(endpoint) as connection:
        for byte in GET:
            connection.send(bytes([byte]))
        assert answer(connection).endswith(b"some 1\n")


def test_a_head_without_end_is_cut_off(endpoint):
    with connect(endpoint) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 9000)
        assert answer(connection).startswith(b"HTTP/1.1 431 ")
    assert asked(endpoint, GET)[0] == b"200 OK"


def test_who_says_nothing_is_not_waited_for(endpoint, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_TIME", 0.05)
    with connect(endpoint) as connection:
        connection.sendall(b"GET /metrics")
        assert answer(connection) == b""


def test_who_takes_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "ANSWER_TIME", 0.05)
    ended = threading.Event()
    end = Endpoint._end

    def noted(self, connection):
        end(self, connection)
        ended.set()

    monkeypatch.setattr(Endpoint, "_end", noted)
    served = Endpoint("127.0.0.1", 0, lambda: b"x" * 50_000_000)
    with closing(served), connect(served) as connection:
        connection.sendall(GET)
        assert ended.wait(LIMIT)


def test_nobody_keeps_the_others_out(endpoint):
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(endpoint)) for _ in range(3 * MOST_CONNECTIONS)]
        assert asked(endpoint, GET)[0] == b"200 OK"
        assert answer(idle[0]) == b""  # the oldest were closed
    assert asked(endpoint, GET)[0] == b"200 OK"


def test_a_body_that_fails_is_the_ends_of_one_request_only(caplog):
    bodies = iter([ValueError("no"), b"well\n"])

    def body():
        given = next(bodies)
        if isinstance(given, Exception):
            raise given
        return given

    served = Endpoint("127.0.0.1", 0, body)
    with closing(served):
        assert asked(served, GET) == (b"", b"")
        assert asked(served, GET) == (b"200 OK", b"well\n")
    assert "metrics could not be given" in caplog.text


async def test_it_answers_while_the_event_loop_is_blocked(endpoint):
    got = []
    thread = threading.Thread(target=lambda: got.append(asked(endpoint, GET)))
    thread.start()
    thread.join(LIMIT)  # blocks the loop until there is the answer
    assert got == [(b"200 OK", b"some 1\n")]


def test_closed_it_lets_go_of_its_port_at_once():
    served = Endpoint("127.0.0.1", 0, bytes)
    idle = connect(served)
    began = time.monotonic()
    served.close()
    assert time.monotonic() - began < 5.0
    with idle:
        assert answer(idle) == b""
    host, port = parse_address(served.address)
    again = Endpoint(host, port, lambda: b"again\n")
    with closing(again):
        assert asked(again, GET) == (b"200 OK", b"again\n")
    again.close()


def test_a_port_that_is_taken_says_what_to_do(endpoint):
    with pytest.raises(ServiceError, match=r"can't serve metrics on 127\.0\.0\.1 port \d+: "):
        serve_metrics(endpoint.address)


def test_all_interfaces():
    served = Endpoint("", 0, lambda: b"x\n")
    with closing(served):
        port = parse_address(served.address)[1]
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
            connection.sendall(GET)
            assert answer(connection).endswith(b"x\n")


def test_one_address_is_served_once_and_as_long_as_anybody_wants_it(measured):
    one, other = serve_metrics("127.0.0.1:0"), serve_metrics("127.0.0.1:0")
    assert one is other
    one.close()
    status, body = asked(other, GET)
    assert status == b"200 OK" and body.startswith(b"# HELP target_info")
    other.close()
    with pytest.raises(ConnectionRefusedError):
        connect(one)
    again = serve_metrics("127.0.0.1:0")
    with closing(again):
        assert again is not one


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:1", ("::1", 1)), (":80", ("", 80)),
     ("localhost:0", ("localhost", 0))],
)  # fmt: skip
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "9464", "host:", "host:x", "host:70000", "::1:80", "a:-1"])
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match="metrics_address: must be host:port"):
        parse_address(text)
