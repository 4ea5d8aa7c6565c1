"""Time and chance, as values that are passed in.

Nothing below the drivers reads a clock or draws a random number by itself: it is given a
``Clock`` and a ``Random``, so that a test or a simulation decides what time it is.
"""

from collections.abc import Callable

Clock = Callable[[], float]
"""Returns the time in seconds; never goes backwards; its zero means nothing."""

Random = Callable[[], float]
"""Returns a uniformly distributed number in [0, 1)."""
