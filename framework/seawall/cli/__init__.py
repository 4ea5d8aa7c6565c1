"""The command ``seawall``."""

from seawall.cli.main import main

__all__ = ["main"]
