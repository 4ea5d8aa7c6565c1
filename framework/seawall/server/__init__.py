"""The server's side: services, their life from start to stop, health."""

from seawall.server.service import Service, client

__all__ = ["Service", "client"]
