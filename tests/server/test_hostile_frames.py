"""HTTP/2 that is none, and HTTP/2 meant to hurt: the connection ends or is borne, others go on."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seawall.transport import keepalive
from tests.echo import EchoService
from tests.hostile import ECHO, HELLO, SAY, Target
from tests.http2 import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Raw,
    fields,
    frame,
    request,
)

CALL = frame(HEADERS, END_HEADERS, 1, request(SAY))
MAX_CONCURRENT_STREAMS = 3


def streams(count: int) -> range:
    """The numbers of a client's first streams."""
    return range(1, 2 * count, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        bytes.fromhex("16030100a5010000a10303") + bytes(160),
        bytes(range(256)) * 40,
        PREFACE[:-1] + b"?" + frame(SETTINGS),
        PREFACE + CALL,
        PREFACE + frame(SETTINGS, payload=bytes(5)),
        PREFACE + frame(SETTINGS) + bytes(range(255, -1, -1)) * 40,
        PREFACE + frame(SETTINGS) + frame(DATA, 0, 1, bytes(1 << 20)),
        PREFACE + frame(SETTINGS) + CALL * 3,
        PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, b"\xff" * 9),
        PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, request(SAY)) + CALL,
        PREFACE + frame(SETTINGS) + frame(PING, payload=bytes(3)),
    ],
    ids=[
        "HTTP/1.1", "TLS", "bytes", "wrong preface", "no settings", "half a setting", "bytes after",
        "huge frame", "a stream again", "bad HPACK", "headers broken off", "short ping",
    ],
)  # fmt: skip
async def test_what_is_no_http2_is_hung_up_on(target, data):
    async with asyncio.timeout(10), Raw(target.port) as connection:
        await connection.send(data)
        await connection.hung_up()


@given(
    frames=st.lists(
        st.builds(
            frame,
            st.integers(0, 10),
            st.integers(0, 255),
            st.integers(0, 5),
            st.binary(max_size=40),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_frames(target, frames):
    async with asyncio.timeout(10), Raw(target.port) as connection:
        await connection.greet()
        await connection.send(b"".join(frames))
        await target.answers()


FLOODS = {
    "settings": frame(SETTINGS, payload=struct.pack(">HI", 4, 65535)) * 10_000,
    "acknowledged pings": frame(PING, ACK, payload=bytes(8)) * 10_000,
    "windows": frame(WINDOW_UPDATE, payload=struct.pack(">I", 1)) * 10_000,
    "priorities": frame(0x2, 0, 1, bytes(5)) * 10_000,
    "frames of no known kind": frame(0x77, 0, 1, b"x") * 10_000,
    "rapid resets": b"".join(
        frame(HEADERS, END_HEADERS, stream, request(SAY)) + frame(RST_STREAM, 0, stream, CANCEL)
        for stream in streams(2000)
    ),
    "rapid resets of whole calls": b"".join(
        frame(HEADERS, END_HEADERS, stream, request(SAY))
        + frame(DATA, END_STREAM, stream, HELLO)
        + frame(RST_STREAM, 0, stream, CANCEL)
        for stream in streams(2000)
    ),
    "resets of streams that answer": b"".join(
        frame(HEADERS, END_HEADERS, stream, request(ECHO + "Chat"))
        + frame(DATA, 0, stream, HELLO)
        + frame(RST_STREAM, 0, stream, CANCEL)
        for stream in streams(500)
    ),
    "continuations": frame(HEADERS, 0, 1, request(SAY))
    + frame(CONTINUATION, 0, 1, fields([("x", "y" * 1000)])) * 2000,
    "empty continuations": frame(HEADERS, 0, 1, request(SAY)) + frame(CONTINUATION, 0, 1) * 10_000,
    "empty data": CALL + frame(DATA, 0, 1) * 10_000,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood(target, flood):
    async with asyncio.timeout(20), Raw(target.port) as connection:
        await connection.greet()
        await connection.send(FLOODS[flood])
        await target.answers()


async def test_a_flood_of_pings_is_told_off(target):
    async with asyncio.timeout(20), Raw(target.port) as connection:
        await connection.greet()
        await connection.send(frame(PING, payload=bytes(8)) * 2000)
        said = [got.payload for got in await connection.hung_up() if got.kind == GOAWAY]
    assert said and said[-1].endswith(b"too_many_pings")


@pytest.mark.parametrize("cut", [1, 9, len(CALL) - 1, len(CALL) + 4])
async def test_a_connection_cut_in_the_middle_of_a_call(target, cut):
    body = frame(DATA, END_STREAM, 1, HELLO)
    for _ in range(10):
        async with asyncio.timeout(10), Raw(target.port) as connection:
            await connection.greet()
            await connection.send((CALL + body)[:cut])


async def test_a_call_that_ends_before_its_request(target):
    """grpc.aio leaves it without an answer; with the connection it is gone."""
    async with asyncio.timeout(10), Raw(target.port) as connection:
        await connection.greet()
        await connection.send(CALL + frame(DATA, END_STREAM, 1))
        await target.answers()


@pytest.mark.parametrize("said", [b"", PREFACE[:9], PREFACE, PREFACE + frame(SETTINGS)])
async def test_who_does_not_finish_the_greeting_is_let_go(registry, monkeypatch, said):
    soon = [("grpc.server_handshake_timeout_ms", 200), ("grpc.http2.settings_timeout", 200)]
    kept = [option for option in keepalive.SERVER_OPTIONS if option[0] not in dict(soon)]
    assert len(kept) == len(keepalive.SERVER_OPTIONS) - 2, "they are set for every server"
    monkeypatch.setattr(keepalive, "SERVER_OPTIONS", [*kept, *soon])
    async with EchoService(registry=registry, shedding=False, host="127.0.0.1") as service:
        target = Target(service)
        await target.ready()
        async with asyncio.timeout(10), Raw(target.port) as connection:
            await connection.send(said)
            await connection.hung_up()
        await target.unharmed()


async def test_a_connection_has_so_many_streams(target):
    async with asyncio.timeout(10), Raw(target.port) as connection:
        await connection.send(PREFACE + frame(SETTINGS))
        told = await connection.read()
    assert told is not None and told.kind == SETTINGS
    announced = dict(struct.iter_unpack(">HI", told.payload))
    assert announced[MAX_CONCURRENT_STREAMS] == 10_000
