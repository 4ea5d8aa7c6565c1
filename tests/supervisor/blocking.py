"""A service with a handler that blocks its event loop for ever."""

import time

from tests.echo import EchoService


class Blocking(EchoService):
    async def Charge(self, request, context):
        while True:
            time.sleep(1)  # noqa: ASYNC251 - that is what is wrong with it
