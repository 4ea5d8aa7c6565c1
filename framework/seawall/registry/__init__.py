"""Where instances are announced and found: etcd, one machine, memory, or a fixed list."""

from seawall.registry.base import Registration, Registry
from seawall.registry.urls import open_registry

__all__ = ["Registration", "Registry", "open_registry"]
