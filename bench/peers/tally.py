"""A count that survives the process that keeps it, and can be read while that one is frozen."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

_COUNT: Final = struct.Struct("<Q")


class Tally:
    """A number in a file of 8 bytes, mapped into memory: one process adds, any may read."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_COUNT.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _COUNT.size)

    def add(self) -> None:
        _COUNT.pack_into(self._memory, 0, self.count + 1)

    @property
    def count(self) -> int:
        number: int = _COUNT.unpack_from(self._memory)[0]
        return number

    def close(self) -> None:
        self._memory.close()
