"""A service that can't start."""

from tests.echo import EchoService


class Broken(EchoService):
    async def on_start(self) -> None:
        raise RuntimeError("broken on purpose")
