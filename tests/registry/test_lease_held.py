"""What a registry says of the lease on which its process's announcement hangs."""

from __future__ import annotations

from pathlib import Path

from seawall.events import RegistrationRestored
from seawall.registry.snapshots.remembering import Remembering
from seawall.testing.etcd import EtcdServer
from tests.registry.etcd_fixtures import OpenRegistry, etcd, instance, namespace, opened

__all__ = ["etcd", "namespace", "opened"]


async def test_from_the_registration_to_the_goodbye(
    etcd: EtcdServer, namespace: str, opened: OpenRegistry, tmp_path: Path
) -> None:
    registry = opened(f"{etcd.url}/{namespace}")
    kept = Remembering(registry, tmp_path)
    assert kept.holds_lease() is None
    registration = await registry.register([instance()])
    assert kept.holds_lease() is True
    assert registry._tenure is not None
    registry._tenure._lease.lose("told by the test")
    assert kept.holds_lease() is False
    await registry.told(RegistrationRestored)
    assert kept.holds_lease() is True
    await registration.close()
    assert kept.holds_lease() is None
