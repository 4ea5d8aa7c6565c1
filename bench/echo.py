"""An echo service over ``StringValue``, laid out as generated code is: nothing to generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

if TYPE_CHECKING:
    from grpc import aio

SERVICE = "bench.Echo"
PATH = f"/{SERVICE}/Say"
TEXT = "a short message, as most are"


class EchoStub:
    """The client's side; takes any channel that has ``unary_unary``."""

    def __init__(self, channel: aio.Channel) -> None:
        self.Say: aio.UnaryUnaryMultiCallable[StringValue, StringValue] = channel.unary_unary(
            PATH,
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )


class EchoServicer:
    """The server's side, to be subclassed."""

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        raise AssertionError("abort always raises")


def add_EchoServicer_to_server(servicer: EchoServicer, server: aio.Server) -> None:
    """Register ``servicer`` as ``bench.Echo``."""
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.Say,
        request_deserializer=StringValue.FromString,
        response_serializer=StringValue.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Say": handler}),)
    )
    register = getattr(server, "add_registered_method_handlers", None)
    if register is not None:  # as generated code does: dispatch by a table made beforehand
        register(SERVICE, {"Say": handler})


class Echo(EchoServicer):
    """Answers with what it was asked, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def Say(self, request: StringValue, context: Any) -> StringValue:
        self.calls += 1
        return request
