"""The sync stack: ``with seawall.sync.connect() as fleet``, for code without an event loop."""

from seawall.sync_assembly import connect

__all__ = ["connect"]
