"""The child's side of ``Process``: what it was told, and where its answers go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import IO, Any

from bench.peers.orphan import die_with


def be_child(run: Callable[[dict[str, Any], IO[str]], Awaitable[None]]) -> None:
    """Run as the process that the command line describes, until its parent has no more to ask."""

    async def whole(answers: IO[str]) -> None:
        await run(spec, answers)

    spec = json.loads(sys.argv[1])
    die_with(spec["parent"])
    # Ctrl-C reaches the whole group of processes; the coordinator ends us by closing stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Only answers may go where the coordinator reads: a library's print goes to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        asyncio.run(whole(answers))
