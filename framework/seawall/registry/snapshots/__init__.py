"""Last good lists on disk: a process that starts while the registry is away works with them."""

from __future__ import annotations

from seawall.events import SnapshotFailed
from seawall.registry.base import Registry
from seawall.registry.snapshots.place import NoPlace, directory
from seawall.registry.snapshots.remembering import Remembering, tell

__all__ = ["Remembering", "remembering"]


def remembering(registry: Registry) -> Registry:
    """``registry`` with its last good lists kept on disk, if it names what it lists.

    As it is if it has no ``identity``, if ``SEAWALL_SNAPSHOTS`` is ``off``, or if this user has no
    place for them (told by ``SnapshotFailed``). Raises ``ConfigError`` if that variable makes no
    sense.
    """
    if registry.identity is None:
        return registry
    try:
        place = directory()
    except NoPlace as problem:
        tell(registry, SnapshotFailed("~/.cache/seawall/snapshots", str(problem)))
        return registry
    return registry if place is None else Remembering(registry, place)
