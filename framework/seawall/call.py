"""The vocabulary of every room: methods, instances, endpoints, calls and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from grpc import StatusCode

from seawall.criticality import DEFAULT, Criticality
from seawall.records import Record

if TYPE_CHECKING:
    from seawall.errors import Refused

WEIGHT: Final = "weight"
"""The fact that says how much an instance takes, in relation to the others: a number; 1 if it is
missing or makes no sense, 0 = nothing."""
LEAST_WEIGHT: Final = 1e-6
MOST_WEIGHT: Final = 1e6
ZONE: Final = "zone"
"""The fact that says where an instance runs."""
PAUSED: Final = "paused"
"""The fact that says, if it is true, that an instance wants no new calls for now."""

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


def fact_of(facts: Mapping[str, JSON], name: str) -> str:
    """What an instance says of itself under ``name``, as text; empty = nothing."""
    value = facts.get(name)
    return "" if value is None else str(value)


def is_paused(facts: Mapping[str, JSON]) -> bool:
    """Whether an instance of these facts wants no new calls."""
    return facts.get(PAUSED) is True or facts.get(WEIGHT) == 0


@dataclass(frozen=True, slots=True)
class Method:
    """A gRPC method as its contract describes it."""

    path: str
    """``/shop.v1.Inventory/GetStock``, as on the wire."""
    service: str
    """``shop.v1.Inventory``: the key under which instances are found."""
    name: str
    """``GetStock``."""
    idempotent: bool = False
    """True if the proto says ``idempotency_level = IDEMPOTENT`` or ``NO_SIDE_EFFECTS``."""
    request_streaming: bool = False
    response_streaming: bool = False
    streaming: bool = field(init=False)
    """Either of them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "streaming", self.request_streaming or self.response_streaming)

    @classmethod
    def from_path(cls, path: str, **facts: bool) -> Method:
        service, _, name = path.lstrip("/").rpartition("/")
        return cls(path, service, name, **facts)


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service, as the registry announces it."""

    service: str
    """Full proto name, for example ``shop.v1.Inventory``."""
    id: str
    """Unique among the service's instances; a restarted process has a new one."""
    address: str
    """What a client dials: ``host:port``, ``[v6]:port`` or ``unix:/path``."""
    metadata: Mapping[str, JSON] = field(default_factory=dict, hash=False)
    """Facts about it: version, zone, weight, started_at, protocol, and the user's own labels."""


class Listing(Record):
    """All instances of a service. Whoever was known before and isn't among them has left."""

    instances: tuple[Instance, ...]


class Change(Record):
    """What is different from before, by instance id: as much work as there is change."""

    put: tuple[Instance, ...] = ()
    """New ones, and known ones with another address or other facts."""
    left: frozenset[str] = frozenset()
    """Ids of those that said goodbye."""
    lost: frozenset[str] = frozenset()
    """Ids of those that vanished without a word: they crashed, or the registry forgot them."""


Update = Listing | Change


class LoadReport(Record):
    """How much an instance has to do, by its own account (ORCA, gRFC A51), with an answer."""

    in_flight: float | None = None
    """Requests that it works on or that wait there, of all its clients (``seawall.in_flight`` of
    its named metrics); None = it doesn't say."""
    latency: float | None = None
    """Median seconds of its recent answers (``seawall.latency``); None = it doesn't say."""
    utilization: float = 0.0
    """What it uses of what it has: ``application_utilization``, else ``cpu_utilization``."""
    rate: float = 0.0
    """Requests a second (``rps_fractional``)."""
    errors: float = 0.0
    """Failed requests a second (``eps``)."""


class Endpoint:
    """An instance as one client sees it: its connection's state and its statistics.

    Balancers read it, the balance layer writes it. It lives for as long as the
    registry lists the instance, so statistics survive changes to the others.
    """

    __slots__ = (
        "address", "answered", "breaker", "busy_since", "ejected", "fair_share", "instance",
        "latency", "outstanding", "paused", "problem", "ready", "settled", "share", "since",
        "stands_for", "state", "tally", "transport",
    )  # fmt: skip

    def __init__(
        self, instance: Instance, breaker: Any, latency: Any, transport: Any = None
    ) -> None:
        self.address = instance.address
        self.learn(instance)
        self.breaker = breaker
        """Its ``policy.breaker.Breaker``."""
        self.latency = latency
        """Its ``balancer.latency.PeakEwma``."""
        self.transport = transport
        """What the driver sends through; nobody else touches it."""
        self.ejected = False
        """Whether outlier detection has taken it out of the picks for now."""
        self.tally: Any = None
        """Its outcomes since the last sweep, for outlier detection alone."""
        self.state: Any = None
        """The balancer's own notes about it."""
        self.stands_for = 1.0
        """How many instances of its zone or version it stands for in this client's subset."""
        self.since: float | None = None
        """When the balance layer first saw it, or saw it again; None = it hasn't."""
        self.answered = 0.0
        """When it last answered a call with OK."""
        self.busy_since = 0.0
        """When the first of the calls that are outstanding now was sent."""
        self.ready = False
        """Whether its connection is up."""
        self.settled = False
        """Whether a first attempt to connect has ended, well or not."""
        self.problem: str | None = None
        """Why it isn't connected, in words."""
        self.outstanding = 0
        """This client's calls that are under way there."""

    def learn(self, instance: Instance) -> None:
        """Take over what the registry says of it: as it was made, or with other facts."""
        self.instance = instance
        facts = instance.metadata
        weight = facts.get(WEIGHT)
        self.paused = is_paused(facts)
        """It wants no new calls for now, and stays connected."""
        usable = isinstance(weight, int | float) and LEAST_WEIGHT <= weight <= MOST_WEIGHT
        self.fair_share = 1.0 / weight if usable and weight != 1 else 1  # type: ignore[operator]
        self.share = self.fair_share
        """What an outstanding call counts there: half as much at weight 2, twice at 0.5; more
        while it warms up."""

    def __repr__(self) -> str:
        state = "ready" if self.ready else "not connected"
        return f"<Endpoint {self.address} {state} outstanding={self.outstanding}>"


class Success:
    """The call, or one attempt at it, was answered with OK."""

    __slots__ = ("fallback", "trailing", "value")
    ok: Literal[True] = True

    def __init__(
        self,
        value: Any = None,
        *,
        fallback: str = "",
        trailing: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.value = value
        self.fallback = fallback
        """What ``value`` is in place of a server's answer: ``value``, ``function`` or ``method``
        (a fallback of that kind), or ``stale`` (an earlier answer). Empty = a server's answer."""
        self.trailing = trailing
        """The trailing metadata of an answer that no server has just given."""

    def __repr__(self) -> str:
        return f"Success({self.value!r})"


def as_success(answer: Any) -> Success:
    """What a function has returned, as an outcome; our own functions may return one."""
    return answer if type(answer) is Success else Success(answer)


class Failure:
    """The call, or one attempt at it, did not succeed."""

    __slots__ = (
        "code", "details", "error", "limit", "pending", "pushback", "refusal", "sent", "stop",
        "untold",
    )  # fmt: skip
    ok: Literal[False] = False

    def __init__(
        self,
        code: StatusCode,
        details: str = "",
        *,
        sent: bool = True,
        pushback: float | None = None,
        stop: bool = False,
        limit: bool = False,
        untold: bool = False,
        pending: list[Callable[[Outcome], None]] | None = None,
        refusal: type[Refused] | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.code = code
        self.details = details
        self.sent = sent
        """False if it provably never reached a server."""
        self.pushback = pushback
        """Seconds after which the server asked to be tried again: so it did not run the call."""
        self.stop = stop
        """The server asked not to be tried again."""
        self.limit = limit
        """The limit for one attempt passed, not the deadline of the call."""
        self.untold = untold
        """The server ended it, and what it said was lost on the way: ``code`` is a stand-in."""
        self.pending = pending
        """Not None if the attempt was left running beside its successor: hooks to call with what
        became of it in the end."""
        self.refusal = refusal
        """Set if the framework refused by itself."""
        self.error = error
        """The driver's own error behind it, if any."""

    def __repr__(self) -> str:
        return f"Failure({self.code.name}, {self.details!r})"


Outcome = Success | Failure


class Attempt(Record):
    """What became of one attempt, for ``explain()``."""

    number: int
    address: str
    code: StatusCode
    details: str
    duration: float
    """Seconds from its start to its end."""
    candidates: int = 0
    """Among how many instances this one was picked."""


class Call:
    """One call of a stub, from its start to its end. The layers of a plan share and change it.

    The defaults stand on the class: hardly any call has more than a few of its own to set.
    """

    attempt = 1
    deadline: float | None
    """On the driver's clock; None = no limit."""
    limit: float | None = None
    """Seconds that the current attempt may take until its first answer; None = no limit."""
    keep_late = False
    """After ``limit`` the attempt goes on beside its successor; the first answer wins."""
    abandon: Callable[[Call], bool] | None = None
    """Asked when ``limit`` has passed: may the attempt be given up for another one?"""
    conclusive: Callable[[Failure], bool] | None = None
    """Asked about the failure of an attempt that was left running: does it end the call?"""
    eager = False
    """Such a failure that doesn't begins the next attempt, as if ``limit`` had passed."""
    committed = False
    """Bound to the attempt in hand: the requests were not kept for another one."""
    endpoint: Endpoint | None = None
    """Where the current attempt goes."""
    considered = 0
    """Among how many the endpoint was picked."""
    tried: tuple[Endpoint, ...] = ()
    """Where earlier attempts went."""
    lacking: tuple[Endpoint, ...] = ()
    """Those of them that vouch that they don't have the method, and ran nothing."""
    absent: Failure | None = None
    """What the last of these said: the answer, if everybody has been tried."""
    attempts: list[Attempt] | None = None
    """All but the one that answered; that too if it had been left running (``late``)."""
    free = 0
    """How often it was sent again for nothing, as nobody can have run the attempt before."""
    late = False
    """The answer is of an attempt that had been left running."""
    notes: list[str] | None = None
    """What budget, breaker and deadline had to say."""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    """Sent with every attempt, after the user's own."""
    marks: tuple[tuple[str, str], ...] = ()
    """What the server is told of the attempt: its number, and whether it may retry below."""
    asks_load = False
    """Whether servers are asked to tell their load."""
    alone = False
    """Somebody above retries: make one attempt that may be run, no more."""
    options: Mapping[str, Any] | None = None
    criticality: Criticality = DEFAULT
    """How much it matters: servers are told, and shed the least critical first."""
    headers: tuple[tuple[str, str | bytes], ...] = ()
    """The metadata that the caller gave."""
    request: bytes | None = None
    """The request as it is sent; None for a stream of requests."""
    credentials = False
    """Whether the caller gave credentials for this call alone."""
    alternative: Any = None
    """Makes the call of another method that answers if this one fails; None = there is none."""
    span: Any = None
    """The call's span while it is recorded; only telemetry looks at it."""
    wait_for_ready = False
    at_end: list[Callable[[Outcome], None]] | None = None
    """For a stream: what to call when it ends, as its plan ends with its first message."""

    def __init__(self, method: Method, started: float, deadline: float | None) -> None:
        self.method = method
        self.started = started
        self.deadline = deadline

    def note(self, text: str) -> None:
        if self.notes is None:
            self.notes = []
        if text not in self.notes:  # each attempt may have the same to say
            self.notes.append(text)

    def record(self, attempt: Attempt) -> None:
        if self.attempts is None:
            self.attempts = []
        self.attempts.append(attempt)

    def when_ended(self, hook: Callable[[Outcome], None]) -> None:
        if self.at_end is None:
            self.at_end = []
        self.at_end.append(hook)
