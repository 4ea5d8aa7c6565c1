"""``Service``: the base class over a generated servicer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, overload

from seawall.call import JSON, WEIGHT
from seawall.errors import ServiceError
from seawall.server.settings import Settings, check_labels, checked_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.server.lifecycle import Server

Stub = TypeVar("Stub")


class client(Generic[Stub]):  # noqa: N801 - it reads as what it declares
    """A dependency: a generated stub on the service's own channel.

    ``catalog = client(catalog_pb2_grpc.CatalogStub)`` in the class of a ``Service``; in its
    methods ``self.catalog`` is the stub. The service that it calls is found by its proto name.
    ``required``: while no instance of that can be called, this service takes no calls either; see
    docs/readiness.md for when not to ask for that.
    """

    def __init__(self, stub: Callable[[Any], Stub], *, required: bool = False) -> None:
        self.stub = stub
        self.required = required
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> client[Stub]: ...
    @overload
    def __get__(self, instance: Service, owner: type) -> Stub: ...
    def __get__(self, instance: Service | None, owner: type) -> client[Stub] | Stub:
        if instance is None:
            return self
        made: Stub = self.stub(instance.server.channel)
        instance.__dict__[self.name] = made  # from now on found before this descriptor
        return made


class Service:
    """Base class of a service: ``class Inventory(Service, inventory_pb2_grpc.InventoryServicer)``.

    ``Inventory.run()`` serves until SIGTERM or SIGINT and leaves in good order. In tests, or beside
    other code, ``await Inventory(...).start()`` and ``stop()``, or ``async with Inventory(...)``.
    Keyword arguments are those of ``seawall.server.settings.Settings``: registry, host, port,
    advertise, unix_socket, grace, settle, version, zone, weight, labels, instance_id,
    service_config, dependency_timeout, health_address, blocked_after, metrics_address,
    access_log, listener.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = Settings(**_known(settings, type(self)))
        self._server: Server | None = None

    async def on_start(self) -> None:
        """Called before the service is announced; its clients work. To be overridden."""

    async def on_stop(self) -> None:
        """Called when the last call has ended; its clients still work. To be overridden."""

    async def is_ready(self) -> bool | str:
        """Asked every second whether the service can take calls: True, or False, or in words why
        not. To be overridden, for what it needs besides its clients: a database, a warm cache.

        An answer after more than 2 s, and an exception, are a no. A no counts once it has lasted
        1 s; then the service takes no calls until the next yes. First asked after ``on_start``.
        """
        return True

    @property
    def server(self) -> Server:
        """What serves this service. Raises ``ServiceError`` before ``start``."""
        if self._server is None:
            raise ServiceError(
                f"{type(self).__name__} is not started: clients work from on_start() on"
            )
        return self._server

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.server.port

    @property
    def address(self) -> str:
        """What clients dial."""
        return self.server.address

    async def start(self) -> None:
        """Serve, and be found: returns when the registry has it.

        It may be started again when it has been stopped. Raises ``ServiceError`` (no servicer,
        port taken, started already), ``ConfigError``, ``RegistryError``.
        """
        from seawall.server.lifecycle import Server

        if self._server is not None and not self._server.ended:
            raise ServiceError(f"this {type(self).__name__} is started already")
        self._server = Server([self], self._settings)
        await self._server.start()

    async def stop(self) -> None:
        """Leave in good order: see ``seawall.server.lifecycle``. Nothing if it isn't started; a
        start that is under way is given up."""
        if self._server is not None:
            await self._server.stop()

    async def set_weight(self, weight: float) -> None:
        """Take more or fewer calls, in relation to the other instances' weights (1 by default).

        Clients see it at once, and keep their connections. Returns when the registry has it;
        raises ``RegistryUnavailable`` if that is away: it is told as soon as it is back. Raises
        ``ConfigError`` for what is no number above 0, ``ServiceError`` if it isn't started.
        """
        await self.server.change(self, {WEIGHT: checked_weight(weight)})

    async def set_labels(self, **labels: JSON) -> None:
        """Announce further facts, or other ones; a label that is None no longer. As ``set_weight``.

        What the framework itself announces (version, zone, ...) can't be a label.
        """
        check_labels(labels)
        await self.server.change(self, labels)

    async def pause(self) -> None:
        """Ask for no new calls until ``resume``; calls under way go on, connections stay.

        Its health is NOT_SERVING meanwhile, for those who look there. As ``set_weight``.
        """
        await self.server.pause(self, paused=True)

    async def resume(self) -> None:
        """Take calls again after ``pause``, if it is ready. As ``set_weight``."""
        await self.server.pause(self, paused=False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @classmethod
    def run(cls, **settings: Any) -> NoReturn:
        """Serve in this process until SIGTERM or SIGINT; then drain and exit with status 0.

        With ``workers=4`` in that many processes: ``running.run_services`` tells of that and of
        other arguments that are no settings. A second signal exits at once. An error at the start
        is told in a line; exit status 1.
        """
        from seawall.server.running import run_services

        run_services([cls], **settings)


def _known(settings: dict[str, Any], cls: type) -> dict[str, Any]:
    unknown = sorted(settings.keys() - set(Settings.__match_args__))
    if unknown:
        known = ", ".join(Settings.__match_args__)
        raise ServiceError(f"{cls.__name__} takes no argument {unknown[0]!r}; known: {known}")
    return settings
