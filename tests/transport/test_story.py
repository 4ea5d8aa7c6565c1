"""What callers and handlers see is the same, whether gRPC's core is used directly or not."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 40.0


async def told(environment: dict[str, str]) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.transport.story"),
        cwd=ROOT,
        env={**os.environ, "SEAWALL_SNAPSHOTS": "off", **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return sorted(said.decode().splitlines())


async def test_the_same_is_told_without_the_direct_way():
    ours = await told({"SEAWALL_GRPC": ""})
    assert ours == await told({"SEAWALL_GRPC": "public"})
    assert "stopped -> UNAVAILABLE" in ours and len(ours) > 15
