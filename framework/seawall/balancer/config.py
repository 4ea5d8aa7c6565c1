"""``loadBalancingConfig``: from gRPC's JSON to balancer policies, which may stand in each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from seawall.balancer.base import BalancerPolicy
from seawall.balancer.hot_cold import HotColdPolicy
from seawall.errors import ConfigError
from seawall.fields import Fields, in_brief

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Parser = Callable[[Fields], BalancerPolicy]

DEFAULT: Final[BalancerPolicy] = HotColdPolicy()

ENTRY_POINTS: Final = "seawall.balancers"
"""Entry point group of third-party balancers: a name, and a ``Parser``: what is called with the
policy's fields and returns its ``BalancerPolicy``, or raises ``ConfigError`` (``fields.wrong``)."""

OUTLIERS: Final = "outlier_detection_experimental"
SUBSET: Final = "random_subsetting"
AROUND: Final = {OUTLIERS: "outlierDetection", SUBSET: "subset"}
"""gRPC's policies that pick nothing and stand round one that does, and seawall's field for each."""

_NOTHING: Final[Mapping[str, Parser]] = {}

_DEEPEST: Final = 8
"""Policies within policies; no sense needs as many."""

_MOST: Final = 16
"""Policies of one list that are looked for; each costs a look at what is installed."""


def parse(entries: list[Fields], around: Mapping[str, Parser] = _NOTHING) -> BalancerPolicy:
    """The first of a ``loadBalancingConfig`` that is known; the default if the list is empty.

    Each entry has one field, whose name is the policy's. ``around`` has the parsers of those of
    ``AROUND`` that may stand in this list: none in that of a balancer. Raises ``ConfigError`` if
    none is known, or for what is wrong in the one that is.
    """
    named: list[str] = []
    for entry in entries[:_MOST]:
        if len(entry.names) != 1:
            raise entry.wrong("must have exactly one field, the name of a policy")
        name = entry.names[0]
        if name in AROUND and name not in around:
            mend = f"put it round all of them, or say seawall.{AROUND[name]}"
            raise entry.wrong(f"can't stand in a balancer: {mend}", name)
        parser = around.get(name) or _BUILT_IN.get(name) or _third_party(name, entry)
        if parser is not None:
            return parser(entry.child(name) or Fields({}, entry.wrong("", name).path))
        named.append(in_brief(str(name)))
    if entries:
        known = ", ".join(sorted({*_BUILT_IN, *around, *_entry_points().names}))
        raise _of_list(entries[0], f"knows none of {in_brief(', '.join(named))}; known: {known}")
    return DEFAULT


def _of_list(first: Fields, problem: str) -> ConfigError:
    """An error about the list whose first entry is ``first``."""
    return ConfigError(first.wrong("").path.rpartition("[")[0], problem)


def _third_party(name: str, entry: Fields) -> Parser | None:
    for found in _entry_points().select(name=name):
        try:
            parser: Parser = found.load()
        except Exception as error:
            problem = f"is offered by {found.value}, which can't be loaded: {error}"
            raise entry.wrong(problem, name) from error
        return parser
    return None


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    return entry_points(group=ENTRY_POINTS)


def _child(fields: Fields) -> BalancerPolicy:
    if fields.wrong("").path.count("childPolicy") >= _DEEPEST:
        raise fields.wrong(f"stands deeper than {_DEEPEST} policies in each other", "childPolicy")
    return parse(fields.children("childPolicy"))


# A program has one balancer or two: what the others need is imported when they are named.


def _least_loaded(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.least_loaded import LeastLoadedPolicy

    fields.only()
    return LeastLoadedPolicy()


def _round_robin(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.round_robin import RoundRobinPolicy

    fields.only()
    return RoundRobinPolicy()


def _by_chance(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.round_robin import ByChancePolicy

    fields.only()
    return ByChancePolicy()


def _least_request(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.least_request import MOST_CHOICES, LeastRequestPolicy

    fields.only("choiceCount")
    choices = fields.integer("choiceCount", LeastRequestPolicy().choices, least=2)
    return LeastRequestPolicy(min(choices, MOST_CHOICES))


def _hot_cold(fields: Fields) -> BalancerPolicy:
    fields.only("poolSize", "reportAge", "hotQuantile")
    default = HotColdPolicy()
    return HotColdPolicy(
        pool=fields.integer("poolSize", default.pool, least=2),
        age=fields.duration("reportAge", default.age),
        quantile=fields.number("hotQuantile", default.quantile, least=0, most=1),
    )


def _weighted(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.weighted import LEAST_UPDATE_PERIOD, WeightedPolicy

    fields.only(
        "blackoutPeriod", "weightExpirationPeriod", "weightUpdatePeriod",
        "errorUtilizationPenalty", "enableOobLoadReport", "oobReportingPeriod",
    )  # fmt: skip
    if fields.flag("enableOobLoadReport"):
        raise fields.wrong("is not supported: reports come with answers", "enableOobLoadReport")
    fields.duration("oobReportingPeriod")  # says nothing without the flag, but may stand there
    default = WeightedPolicy()
    update = fields.duration("weightUpdatePeriod", default.update)
    return WeightedPolicy(
        blackout=_or_zero(fields, "blackoutPeriod", default.blackout),
        expiration=fields.duration("weightExpirationPeriod", default.expiration),
        update=max(update, LEAST_UPDATE_PERIOD),
        penalty=fields.number("errorUtilizationPenalty", default.penalty, least=0),
    )


def _or_zero(fields: Fields, name: str, default: float) -> float:
    """A duration that may be ``"0s"``, as in gRPC, for: none."""
    return 0.0 if fields.text(name) == "0s" else fields.duration(name, default)


def _ring_hash(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.ring_hash import RING_CAP, RingHashPolicy

    fields.only("minRingSize", "maxRingSize", "requestHashHeader", "boundedLoadFactor")
    default = RingHashPolicy()
    least = min(fields.integer("minRingSize", default.least, least=1), RING_CAP)
    most = min(fields.integer("maxRingSize", default.most, least=1), RING_CAP)
    if least > most:
        raise fields.wrong(f"is less than minRingSize ({most} < {least})", "maxRingSize")
    bound: float | None = fields.number("boundedLoadFactor", 0.0, above=1) or None
    if bound is None and "boundedLoadFactor" not in fields.names:
        bound = default.bound  # an explicit null is: no bound
    return RingHashPolicy(least, most, _header(fields, "requestHashHeader"), bound)


def _locality(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.locality import LocalityPolicy

    fields.only("trafficShare", "childPolicy")
    traffic = fields.number("trafficShare", 0.0, above=0, most=1) or None
    return LocalityPolicy(traffic, _child(fields))


def _split(fields: Fields) -> BalancerPolicy:
    from seawall.balancer.split import SplitPolicy

    fields.only("label", "weights", "header", "childPolicy")
    given = fields.child("weights")
    if given is None or not given.names:
        raise fields.wrong("must say how much each version gets", "weights")
    weights = {str(name): given.number(name, least=0, required=True) for name in given.names}
    if not any(weights.values()):
        raise fields.wrong("must not all be 0", "weights")
    return SplitPolicy(
        weights, fields.text("label") or "version", _header(fields, "header"), _child(fields)
    )


def _header(fields: Fields, name: str) -> str:
    header = fields.text(name).lower()
    if header.endswith("-bin"):
        raise fields.wrong("must not be binary metadata (-bin)", name)
    return header


_BUILT_IN: Final[Mapping[str, Parser]] = {
    "hot_cold": _hot_cold,
    "least_loaded": _least_loaded,
    "least_request_experimental": _least_request,
    "locality": _locality,
    "random": _by_chance,
    "ring_hash_experimental": _ring_hash,
    "round_robin": _round_robin,
    "split": _split,
    "weighted_round_robin": _weighted,
}
