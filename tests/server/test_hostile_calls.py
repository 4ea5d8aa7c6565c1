"""Calls that no generated stub makes: each has a clear status, and the server is as before."""

from __future__ import annotations

import gzip
import logging

import grpc
import pytest
from grpc import StatusCode, aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seawall.errors import ConfigError
from seawall.server.listening.accepting import GRPC_LOGGERS, make_server
from seawall.server.settings import Settings
from seawall.telemetry.seldom import MOST
from tests.hostile import ARITIES, ECHO, SAY, Target
from tests.http2 import message
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

OK, LATE, UNIMPLEMENTED, TOO_MUCH, INTERNAL = (
    code.value[0]
    for code in (
        StatusCode.OK,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.INTERNAL,
    )
)
NOT_UTF8 = b"\xff\xfe\x80"
NOT_PROTO = message(b"\xff\xff\xff")
BOMB = gzip.compress(bytes(10 << 20))
GZIP = ("grpc-encoding", "gzip")
OWN_KEYS = (
    "seawall-criticality", "seawall-attempt", "seawall-no-retry", "seawall-load", "seawall-resume",
    "traceparent", "tracestate", "baggage", "grpc-timeout", "grpc-encoding", "grpc-status",
    "grpc-previous-rpc-attempts", "grpc-retry-pushback-ms", "grpc-trace-bin", "content-type", "te",
    "user-agent", "host", "x-any", "x-any-bin",
)  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [b"/" + NOT_UTF8 + b"/Say", b"", "/", "Say", ECHO + "Nope", "/no.Such/Method", "/" * 4000],
)
async def test_a_method_that_is_not_there(target, path):
    code, details = await target.ask(path)
    assert code == UNIMPLEMENTED and details == "Method not found!"


async def test_paths_that_are_not_text_in_a_row(target):
    """One is enough to end a server of grpc.aio 1.85 (see ``listening.accepting``)."""
    for byte in range(0x80, 0x100, 8):
        assert (await target.ask(bytes([0x2F, byte])))[0] == UNIMPLEMENTED


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_request_that_is_no_message_of_its_type(target, arity, caplog):
    for _ in range(20):
        code, details = await target.ask(ECHO + arity, body=NOT_PROTO)
        assert code == INTERNAL
        assert details == f"can't read the request: it is no message of {ECHO}{arity}"
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) <= MOST and all(ECHO + arity in line.getMessage() for line in lines)
    assert not any(line.exc_info for line in lines)


@given(data=st.binary(max_size=60))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_for_a_request(target, data):
    assert (await target.ask(SAY, body=message(data)))[0] in (OK, INTERNAL)


@pytest.mark.parametrize(
    ("body", "metadata", "status", "says"),
    [
        (message(b"", length=5 << 20), [], TOO_MUCH, "larger than max (5242880 vs. 4194304)"),
        (message(b"", length=2**32 - 1), [], TOO_MUCH, "larger than max"),
        (message(BOMB, compressed=True), [GZIP], TOO_MUCH, "Decompressed message larger than max"),
        (message(BOMB[:99], compressed=True), [GZIP], INTERNAL, "Decompression failed"),
        (message(b"abc", compressed=True), [GZIP], INTERNAL, "Decompression failed"),
        (message(b"abc", compressed=True), [], INTERNAL, "no encoding configured"),
        (message(b"abc", compressed=True), [("grpc-encoding", "br")], INTERNAL, "grpc-encoding"),
    ],
    ids=["5MB", "4GB", "bomb", "cut", "no gzip", "no encoding", "unknown encoding"],
)
async def test_a_message_that_is_too_large_or_packed_wrongly(target, body, metadata, status, says):
    code, details = await target.ask(SAY, *metadata, body=body)
    assert code == status and says in details


async def test_the_largest_message_is_a_setting(start, monkeypatch):
    async def length(service, text):
        async with aio.insecure_channel(service.address) as channel:
            stub = pb_grpc.EchoStub(channel)
            return len((await stub.Say(pb.EchoRequest(text="x" * text), timeout=10)).text)

    small = await start(max_message_bytes=100_000)
    assert await length(small, 99_000) == 99_000
    with pytest.raises(aio.AioRpcError) as caught:
        await length(small, 100_000)
    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
    monkeypatch.setenv("SEAWALL_MAX_MESSAGE", "200000")
    assert Settings().resolved().max_message_bytes == 200_000
    for wrong in (0, -1, 2**31):
        with pytest.raises(ConfigError, match="max_message_bytes: must be bytes"):
            Settings(max_message_bytes=wrong).resolved()


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        (("x-large", "x" * 30_000), TOO_MUCH),
        (("seawall-criticality", "most of all"), OK),
        (("seawall-criticality", NOT_UTF8), OK),
        (("seawall-attempt", "-1"), OK),
        (("traceparent", "00-" + "0" * 32 + "-zz"), OK),
        (("x-any-bin", "!!!"), INTERNAL),
        (("X-Capitals", "x"), INTERNAL),
        (("grpc-timeout", "0n"), LATE),
        (("grpc-timeout", "0S"), LATE),
        (("grpc-timeout", "99999999H"), OK),
        (("grpc-timeout", "9999999999S"), OK),
        (("grpc-timeout", "-1S"), INTERNAL),
        (("grpc-timeout", "soon"), INTERNAL),
        (("grpc-timeout", ""), INTERNAL),
        (("grpc-timeout", "1.5S"), INTERNAL),
    ],
    ids=lambda value: "=".join(map(str, value))[:40] if isinstance(value, tuple) else None,
)
async def test_metadata_that_makes_no_sense(target, metadata, status):
    code, details = await target.ask(SAY, metadata)
    assert code == status and (code == OK) == (details == "")


@given(
    metadata=st.lists(
        st.tuples(
            st.one_of(st.sampled_from(OWN_KEYS), st.binary(max_size=20)), st.binary(max_size=40)
        ),
        max_size=8,
    )
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_for_metadata(target, metadata):
    """Answered, refused, or the connection closed, as RFC 9113 has it for malformed fields."""
    code, details = await target.ask(SAY, *metadata)
    assert details or code == OK


async def test_what_grpc_logs_of_strangers_is_bounded(start, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger(GRPC_LOGGERS[0]), "filters", [])
    target = Target(await start())
    for _ in range(30):
        assert await target.ask(SAY, ("x-any", NOT_UTF8)) == (OK, "")
    lines = [one for one in caplog.records if one.name == GRPC_LOGGERS[0] and one.levelno > 20]
    assert 1 <= len(lines) <= MOST


async def test_services_without_registered_methods_are_still_found():
    """As of code generated by grpcio-tools older than 1.65."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server = make_server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("old.Service", {"Say": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary("/old.Service/Say")(b"hello", timeout=10) == b"hello"
    await server.stop(None)
