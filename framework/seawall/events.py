"""What the framework tells about itself while it works.

Parts emit frozen event objects to a ``Listener``; telemetry turns them into logs. An event is
emitted when something *changes*, never for every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from seawall.records import Record


class Event(Record):
    """Base of all events."""

    level: ClassVar[str] = "info"


class Repair(Event):
    """Base of the events that tell of something that was broken and that the framework mended."""

    kind: ClassVar[str] = ""
    """What was mended, in a word: the label of the counter of repairs."""


class InstancesChanged(Event):
    """The instances of a service that are in use changed, as a rule because the registry's list
    did; see ``MassExpiry`` for the exception."""

    service: str
    added: tuple[str, ...]
    """Addresses."""
    removed: tuple[str, ...]
    total: int


class FactsChanged(Event):
    """Instances announced other facts: their weight, or that they are paused, say."""

    service: str
    addresses: tuple[str, ...]


class MassExpiry(Event):
    """Most instances vanished from the registry without a goodbye and some still answer their
    health check: these are kept in use until they are listed again, leave, or stop answering."""

    level: ClassVar[str] = "warning"
    service: str
    kept: int
    """How many answer, and are kept."""


class EndpointConnected(Event):
    """An instance can be picked from now on."""

    service: str
    address: str


class EndpointLost(Event):
    """The connection to an instance broke: it isn't picked until it is back."""

    level: ClassVar[str] = "warning"
    service: str
    address: str


class BreakerChanged(Event):
    """An endpoint's breaker opened, or closed again as a probe was answered. Told once for each:
    a probe that fails is no news."""

    level: ClassVar[str] = "warning"
    service: str
    address: str
    old: str
    new: str


class EndpointEjected(Event):
    """Outlier detection took an instance out of the picks, as it fails more than the others."""

    level: ClassVar[str] = "warning"
    service: str
    address: str
    reason: str
    """In words: the counts, and the limit that they passed."""
    duration: float
    """Seconds until it may be back."""


class EndpointReturned(Event):
    """An instance that outlier detection had ejected may be picked again."""

    service: str
    address: str


class ThrottlingStarted(Event):
    """A service refuses so many calls as overload that this client begins to keep calls back."""

    level: ClassVar[str] = "warning"
    service: str
    probability: float
    """That a call was kept back at that moment."""
    method: str = ""
    """The path of the method whose calls they are; empty = all of the service's."""


class ThrottlingEnded(Event):
    """For a whole window no call was kept back. Noticed, and told, with a later call."""

    service: str
    method: str = ""


class RegistryLost(Event):
    """The registry can't be reached; the last good lists stay in use."""

    level: ClassVar[str] = "warning"
    registry: str
    problem: str


class RegistryRegained(Event):
    """The registry answers again."""

    registry: str
    outage: float
    """Seconds since it was lost."""


class RegistrationRestored(Repair):
    """This process's own registration had gone (lease lost, key deleted) and was put again."""

    level: ClassVar[str] = "warning"
    kind: ClassVar[str] = "registration"
    registry: str
    reason: str


class MalformedEntry(Event):
    """An entry of the registry can't be read; it is skipped. Told once for each value."""

    level: ClassVar[str] = "warning"
    registry: str
    key: str
    problem: str


class SnapshotUsed(Event):
    """The registry gave no list in time: the last good one, kept on disk, is used until it does."""

    level: ClassVar[str] = "warning"
    registry: str
    service: str
    instances: int
    age: float
    """Seconds since the registry was last known to agree with it."""


class SnapshotRefused(Event):
    """A last good list on disk, or the directory, can't be trusted: it is as if it weren't there.

    Told once for each problem.
    """

    level: ClassVar[str] = "warning"
    path: str
    problem: str


class SnapshotFailed(Event):
    """Last good lists can't be written: a process that starts in an outage may have none.

    Told once, until writing works again.
    """

    path: str
    problem: str


class ConfigReplaced(Event):
    """Another service config is in force for the calls that are started from now on."""

    source: str


class ConfigRefused(Event):
    """A service config that was to replace the one in force makes no sense, or can't be read: the
    last good one stays. Told once for each problem."""

    level: ClassVar[str] = "warning"
    source: str
    problem: str


class AddressChanged(Repair):
    """This machine has another address than before, and its instances are announced at that."""

    level: ClassVar[str] = "warning"
    kind: ClassVar[str] = "address"
    before: str
    now: str


class ServiceNotReady(Event):
    """A service of this process takes no new calls: what it requires is missing, or its own check
    says so. Told again when it is for another reason."""

    level: ClassVar[str] = "warning"
    service: str
    reason: str


class ServiceReady(Repair):
    """A service of this process that was not ready takes calls again."""

    kind: ClassVar[str] = "readiness"
    service: str
    away: float
    """Seconds for which it was not ready."""


class ServerFailed(Event):
    """gRPC takes no more calls in this process, as what takes them in has failed: the server stops
    in good order, and ``run`` returns 1, for whoever watches it to start another one."""

    level: ClassVar[str] = "error"
    address: str
    problem: str


class LoopBlocked(Event):
    """The event loop did not turn for a while. Told when it turns again, for every such time; the
    log names each place once, with its stack, while it is blocked."""

    level: ClassVar[str] = "debug"
    by: str
    """The handler or the task that ran, by its qualified name."""
    place: str
    """``file:line`` in it."""
    duration: float
    """Seconds."""


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that nobody needs to set."""
