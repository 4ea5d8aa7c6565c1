"""Running services as the main job of a process: signals, logs, exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from seawall.errors import SeawallError
from seawall.server.lifecycle import Server
from seawall.server.service import Service
from seawall.telemetry.setup import set_up_tracing

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_services(classes: Sequence[type[Service]], **settings: Any) -> NoReturn:
    """Serve ``classes`` together on one port until SIGTERM or SIGINT; then exit.

    Exit status: 0 after a stop in good order, 1 if the start failed, 130 at a second signal.
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=os.environ.get("SEAWALL_LOG", "INFO").upper(),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
    try:
        set_up_tracing(classes[0].__name__.lower())
        asyncio.run(_serve(classes, settings))
    except SeawallError as error:
        sys.stderr.write(f"seawall: {error}\n")
        sys.exit(1)
    sys.exit(0)


async def _serve(classes: Sequence[type[Service]], settings: dict[str, Any]) -> None:
    services = [cls(**settings) for cls in classes]
    server = Server(services, services[0]._settings)
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if asked.is_set():
            os._exit(130)  # whoever asks twice does not want to wait
        asked.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    starting = asyncio.create_task(server.start())
    stop = asyncio.create_task(asked.wait())
    await asyncio.wait((starting, stop), return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        await stop
    stop.cancel()
    await server.stop()
    await asyncio.wait((starting,))
