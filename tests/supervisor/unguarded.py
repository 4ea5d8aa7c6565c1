"""A module that can't be imported without running: workers can't load it."""

from tests.echo import EchoService


class Unguarded(EchoService):
    pass


Unguarded.run(workers=2)
