"""One process of the benchmark, in the role that it is told. Started by ``processes``.

As ``bench.worker``: a JSON object a line on stdin, an answer a line on stdout, and its end when
stdin ends. A command is ``{"do": name, ...}``; its answer is ``{"result": ...}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import aclosing
from importlib import import_module
from typing import IO, Any

from bench.discovery.roles import ROLES, Role
from bench.worker import serve_commands


async def run(spec: dict[str, Any], answers: IO[str]) -> None:
    """Be what ``spec`` says: ``role`` names it, the rest is for its ``open``."""
    module, name = ROLES[spec.pop("role")]
    role: Role = getattr(import_module(module), name)()

    async def handle(command: dict[str, Any]) -> dict[str, Any]:
        action = role.actions[command.pop("do")]
        return {"result": await action(**command)}

    async with aclosing(role):
        hello = await role.open(**spec)
        await serve_commands(answers, hello, handle)


def main() -> None:
    # Ctrl-C reaches the whole group of processes; the coordinator ends us by closing stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Only answers may go where the coordinator reads: a library's print goes to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        asyncio.run(run(json.loads(sys.argv[1]), answers))


if __name__ == "__main__":
    main()
