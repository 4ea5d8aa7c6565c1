"""What the supervisor's own metrics tell."""

import asyncio
import os
import signal
from urllib.request import urlopen

from tests.supervisor.programs import Command


async def test_repairs_are_counted():
    async with Command("--workers", "1", SEAWALL_METRICS="127.0.0.1:0") as command:
        found = await command.says(r"the supervisor's metrics are at (http\S+)")
        os.kill(await command.pid(1), signal.SIGKILL)
        await command.pid(1, generation=2)
        text = (await asyncio.to_thread(_fetched, found[1])).decode()
        assert 'seawall_server_repairs_total{seawall_kind="worker"} 1' in text
        assert 'seawall_events_total{seawall_event="WorkerServing"} 2' in text
        command.send(signal.SIGTERM)
        assert await command.ended() == 0


def _fetched(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        return answer.read()
