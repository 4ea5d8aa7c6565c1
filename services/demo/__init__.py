"""``python -m services.demo``: the shop under fire, plain stubs beside seawall's."""

from typing import Final

SIDES: Final = ("plain", "seawall")
"""The two worlds of clients that are compared."""
