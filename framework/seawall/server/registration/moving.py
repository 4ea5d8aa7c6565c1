"""An address that changes while a server runs: a container's network was cut and is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from seawall.errors import RegistryError
from seawall.events import AddressChanged, Event, Listener, RegistrationRestored, RegistryRegained
from seawall.server.registration.announcement import Announcement

_log = logging.getLogger("seawall.server")


class Moving:
    """Looks, whenever the registry has been away, whether this machine has another address now.

    It stands between the registry and its ``listener``.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._address: Callable[[], str | None] | None = None
        self._announcement: Announcement | None = None
        self._looking: asyncio.Task[None] | None = None

    def tell(self, event: Event) -> None:
        """The registry has something to tell."""
        self._listener(event)
        if self._announcement is None or not isinstance(
            event, RegistryRegained | RegistrationRestored
        ):
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def follow(self, announcement: Announcement, address: Callable[[], str | None]) -> None:
        """From now on keep what is announced in step with ``address``; None = not known now."""
        self._announcement, self._address = announcement, address

    async def close(self) -> None:
        """Look no more."""
        self._announcement = None
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    async def _look(self) -> None:
        announcement, address = self._announcement, self._address
        assert announcement is not None and address is not None
        before, now = announcement.address, address()
        if now is None or now == before:
            return
        try:
            await announcement.move(now)
        except RegistryError as error:
            _log.warning("%s is announced as soon as the registry is back: %s", now, error)
        self._listener(AddressChanged(before, now))
