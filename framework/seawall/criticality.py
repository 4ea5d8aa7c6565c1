"""How much a request matters: what an overloaded server sheds first.

The four classes of "Site Reliability Engineering", chapter 21. A class is set at the edge and
travels with the calls made for the request, through every service below.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

KEY: Final = "seawall-criticality"
"""Metadata: the class, in lower case. Absent: ``critical``."""


class Criticality(IntEnum):
    """The higher, the later it is shed."""

    SHEDDABLE = 0
    """Partial unavailability is expected, as for what is tried again anyway."""
    SHEDDABLE_PLUS = 1
    """May be shed now and then: batch work, prefetching."""
    CRITICAL = 2
    """Somebody sees it fail. What a request is that doesn't say."""
    CRITICAL_PLUS = 3
    """Failing is serious: to be used sparingly."""


DEFAULT: Final = Criticality.CRITICAL
BY_NAME: Final = {each.name.lower(): each for each in Criticality}

SENT: Final[dict[Criticality, tuple[tuple[str, str | bytes], ...]]] = {
    each: ((KEY, each.name.lower()),) for each in Criticality if each is not DEFAULT
}
"""What a request of each class carries; nothing, if it is of the default one."""


def criticality_named(name: object) -> Criticality:
    """The class of that name. Raises ``ValueError`` with the known ones."""
    if isinstance(name, Criticality):
        return name
    known = BY_NAME.get(name) if isinstance(name, str) else None
    if known is None:
        raise ValueError(f"criticality must be one of {', '.join(BY_NAME)}, not {name!r}")
    return known
