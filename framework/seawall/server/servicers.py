"""Finding the generated code's servicers among a class's bases, and registering them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from seawall.errors import ServiceError

Add = Callable[[Any, Any], None]
Wrap = Callable[["grpc.RpcMethodHandler[Any, Any]", str], "grpc.RpcMethodHandler[Any, Any]"]


def find_adders(cls: type) -> list[Add]:
    """The generated ``add_..._to_server`` functions for the servicers that ``cls`` implements.

    Raises ``ServiceError`` if there is none.
    """
    adders = []
    for base in cls.__mro__:
        module = sys.modules.get(base.__module__)
        add = getattr(module, f"add_{base.__name__}_to_server", None)
        if callable(add):
            adders.append(add)
    if not adders:
        raise ServiceError(
            f"{cls.__name__} implements no gRPC service: none of its bases is a generated "
            f"servicer. Write: class {cls.__name__}(Service, inventory_pb2_grpc.InventoryServicer)"
        )
    return adders


class Recorder:
    """Stands in for a server while generated code registers itself, wrapping each handler.

    ``names`` are the services registered, in order.
    """

    def __init__(self, server: Any, wrap: Wrap) -> None:
        self._server = server
        self._wrap = wrap
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        for name in (handler.service_name() for handler in handlers):
            if name in self.names:
                raise ServiceError(
                    f"{name} is implemented by two of the classes that are to be served together; "
                    "one process serves a service once: run the other in a process of its own"
                )
            self.names.append(name)
        self._server.add_generic_rpc_handlers([_Wrapped(h, self._wrap) for h in handlers])

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        wrapped = {
            name: self._wrap(handler, f"/{service}/{name}") for name, handler in handlers.items()
        }
        self._server.add_registered_method_handlers(service, wrapped)


class _Wrapped(grpc.ServiceRpcHandler):
    """For code generated before registered methods: the same, found by name at each call."""

    def __init__(self, inner: grpc.ServiceRpcHandler, wrap: Wrap) -> None:
        self._inner = inner
        self._wrap = wrap
        self._found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def service_name(self) -> str:
        return str(self._inner.service_name())

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        if path not in self._found:
            handler = self._inner.service(handler_call_details)
            if handler is None:
                return None
            self._found[path] = self._wrap(handler, path)
        return self._found[path]
