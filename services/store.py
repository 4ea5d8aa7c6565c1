"""The shop's books: append-only files that all instances share, in place of a database."""

from __future__ import annotations

import os
import socket
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

CHARGES: Final = "charges"
WRITER: Final = os.environ.get("SHOP_INSTANCE", f"{socket.gethostname()}-{os.getpid()}")
"""How this instance signs what it writes."""


def directory() -> Path:
    """Where the books are: ``SHOP_DATA``, else a directory of this user in the system's own."""
    named = os.environ.get("SHOP_DATA")
    path = Path(named) if named else Path(tempfile.gettempdir()) / f"seawall-shop-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def append(book: str, line: str) -> None:
    """Write one line. Several processes may do so at once: one write, at the end, whole."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    descriptor = os.open(directory() / book, flags, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def charges(path: Path) -> Counter[str]:
    """How often each order was charged, by order id."""
    if not path.exists():
        return Counter()
    lines = path.read_text(encoding="utf-8").splitlines()
    return Counter(line.split()[0] for line in lines if line.strip())
