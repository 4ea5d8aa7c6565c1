"""What SIGHUP means: a wish for new workers, or that the terminal has closed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from seawall.supervisor.signs import Wish


class HangUp:
    """To be called at each SIGHUP. Made before a handler for it is installed."""

    def __init__(self, ask: Callable[[Wish], None]) -> None:
        self._ask = ask
        self._terminal = _has_terminal()
        self._stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        """It was started by ``nohup``, so as to survive its terminal."""

    def __call__(self) -> None:
        if not self._terminal or _has_terminal():
            self._ask(Wish.ROLL)
            return
        self._terminal = False
        if not self._stays:
            self._ask(Wish.STOP)


def _has_terminal() -> bool:
    """Whether this process has a terminal that could close."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
