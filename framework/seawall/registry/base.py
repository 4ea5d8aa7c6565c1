"""What a registry is: a place where instances are announced and watched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from seawall.call import Instance, Update
from seawall.events import Listener, ignore
from seawall.registry.roster import Roster


class Registration(ABC):
    """What one process has announced. It stays announced until ``close``, whatever happens."""

    @abstractmethod
    async def update(self, instances: Sequence[Instance]) -> None:
        """Replace what is announced, without a moment in which nothing is."""

    @abstractmethod
    async def close(self) -> None:
        """Say goodbye: remove the announcement. Never raises because the registry is away."""


class Registry(ABC):
    """Where instances are announced and watched. One of your own has three methods to write.

    One object serves one event loop. All three methods may be called any number of times, at the
    same time. ``listener`` is told what changes (see ``seawall.events``).
    """

    url: str = ""
    listener: Listener = staticmethod(ignore)
    problem: str | None = None
    """What is wrong with the registry now, in words for an error message; None = nothing known."""
    ttl: float = 10.0
    """Seconds after which what a dead process has announced is dropped, or about that."""
    identity: str | None = None
    """Names what is listed here, whichever way it is reached: the same for all processes that
    see the same lists. Last good lists are kept on disk under this name; None = never."""

    @abstractmethod
    async def register(self, instances: Sequence[Instance]) -> Registration:
        """Announce ``instances`` (all services of this process) and keep them announced.

        Returns when they can be found. Raises ``RegistryUnavailable`` if the registry does not
        answer within a few seconds, ``RegistryError`` if it refuses.
        """

    @abstractmethod
    def watch(self, service: str) -> AsyncGenerator[Update, None]:
        """Yield a ``Listing`` of a service's instances at once, then each change.

        A registry that knows only whole lists yields a ``Listing`` each time. The first may be
        empty: nobody serves it. A reader that is slow gets several changes as one. While the
        registry is away nothing is yielded, and the watch resumes by itself with nothing lost; a
        list is never emptied by an outage. Raises ``RegistryError`` only for what trying again
        won't mend. Ends by ``aclose()``, by cancellation, or when the registry is closed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything. What is still registered says goodbye."""

    def holds_lease(self) -> bool | None:
        """Whether the registry has, as far as is known, all that this process announces there;
        None = nothing is announced, or it hangs on no lease. Any thread may ask."""
        return None

    keeps_configs: bool = False
    """Whether it has ``configs``."""

    async def configs(self, service: str) -> AsyncGenerator[str | None, None]:
        """Yield the service config (JSON text) that is kept for ``service``, now and whenever it is
        replaced; None = there is none (any more). A registry that keeps none need not have this.

        Raises ``RegistryError`` if it is refused; outages are waited out.
        """
        none: tuple[str, ...] = ()
        for text in none:
            yield text

    async def lists(self, service: str) -> AsyncIterator[tuple[Instance, ...]]:
        """Like ``watch``, but yield all instances each time, in the order of their ids."""
        roster, told = Roster(), None
        async with aclosing(self.watch(service)) as updates:
            async for update in updates:
                roster.apply(update)
                if roster.instances != told:
                    told = roster.instances
                    yield told

    def advertised_host(self) -> str | None:
        """The address of this machine's interface that routes to the registry, if that means
        anything: what a service advertises when it isn't told. None = loopback is right."""
        return None
