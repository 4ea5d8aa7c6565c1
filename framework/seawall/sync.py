"""The sync stack: ``with seawall.sync.connect() as fleet``, for code without an event loop."""

from seawall.transport.sync.channel import connect

__all__ = ["connect"]
