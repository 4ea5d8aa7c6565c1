"""``local://``: one machine, no server; a directory in which every process keeps one file."""

from seawall.registry.local.registry import LocalRegistry

__all__ = ["LocalRegistry"]
