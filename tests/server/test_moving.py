"""A server whose machine gets another address while it runs."""

import asyncio

from seawall.errors import RegistryUnavailable
from seawall.events import AddressChanged, RegistrationRestored, RegistryRegained
from seawall.registry import open_registry
from seawall.server.registration.announcement import Announcement
from seawall.server.registration.moving import Moving
from tests.transport.test_unary import until

OLD, NEW = "10.0.0.1:500", "10.0.0.2:500"


class Machine:
    """An announcement at an address that can change."""

    def __init__(self, registry: str) -> None:
        self.registry = open_registry(registry)
        self.announcement = Announcement(["shop.v1.Orders"], "orders-1", OLD, {"zone": "a"})
        self.address: str | None = OLD
        self.told = []
        self.moving = Moving(self.told.append)

    async def __aenter__(self):
        await self.announcement.make(self.registry)
        self.moving.follow(self.announcement, lambda: self.address)
        return self

    async def __aexit__(self, *_):
        await self.moving.close()
        await self.announcement.withdraw()
        await self.registry.close()


async def test_the_new_address_is_announced_when_the_registry_is_back(registry):
    async with Machine(registry) as machine:
        machine.address = NEW
        event = RegistryRegained("etcd://a", 3.0)
        machine.moving.tell(event)
        await until(lambda: len(machine.told) == 2)
        assert machine.told == [event, AddressChanged(OLD, NEW)]
        updates = machine.registry.watch("shop.v1.Orders")
        listed = await anext(aiter(updates))
        assert [each.address for each in listed.instances] == [NEW]
        assert listed.instances[0].metadata["zone"] == "a"
        await updates.aclose()


async def test_the_same_address_or_none_changes_nothing(registry):
    async with Machine(registry) as machine:
        for machine.address in (OLD, None):
            event = RegistrationRestored("etcd://a", "lease lost")
            machine.moving.tell(event)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert machine.announcement.address == OLD
        assert not any(isinstance(event, AddressChanged) for event in machine.told)


async def test_a_registry_that_is_away_again_hears_of_it_later(registry):
    async with Machine(registry) as machine:

        async def away(address):
            machine.announcement.address = address
            raise RegistryUnavailable("away")

        machine.announcement.move = away
        machine.address = NEW
        machine.moving.tell(RegistryRegained("etcd://a", 3.0))
        await until(lambda: AddressChanged(OLD, NEW) in machine.told)
        assert machine.announcement.address == NEW
