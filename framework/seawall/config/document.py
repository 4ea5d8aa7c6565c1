"""Reading a service config. A bad document is refused whole, with the path of the bad field."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from seawall.call import Method
from seawall.config.balancing import read_balancing
from seawall.config.files import text_of
from seawall.config.methods import read_methods
from seawall.config.policies import HEDGES, BudgetPolicy, ServiceConfig, ThrottlePolicy
from seawall.errors import ConfigError
from seawall.fields import Fields, in_brief
from seawall.policy.breaker import BreakerPolicy
from seawall.policy.throttle import AdaptiveThrottle
from seawall.policy.warmup import SlowStartPolicy

_NOT_YET: Final = ("healthCheckConfig", "connectionScaling")
"""gRPC's fields that are refused, as ignoring them would be to promise what isn't done."""


def load_service_config(source: str | os.PathLike[str] | Mapping[str, Any] | None) -> ServiceConfig:
    """Read a service config from a mapping, a JSON text, or the path of a JSON file.

    None is the default: three attempts for idempotent methods, breakers, a budget for retries.
    Raises ``ConfigError``.
    """
    if source is None:
        return ServiceConfig()
    if isinstance(source, Mapping):
        return parse_service_config(source)
    origin, text = "service config", str(source)
    if is_path(source):
        origin = f"service config file {source}"
        try:
            text = text_of(os.fspath(source))
        except ConfigError as error:
            raise ConfigError("", f"{origin} {error.problem}") from None
    import json  # a fiftieth of our import, and most have no document

    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ConfigError("", f"{origin} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError("", f"{origin} must be a JSON object, not {type(document).__name__}")
    return parse_service_config(document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these fields. Raises ``ValueError`` if a name stands there twice, of which
    JSON's own rule would silently drop one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"an object has the field {in_brief(name)!r} twice")
            seen.add(name)
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")


def is_path(source: str | os.PathLike[str]) -> bool:
    """Whether a source that is no mapping names a file, as opposed to being the JSON itself."""
    return isinstance(source, os.PathLike) or not source.lstrip().startswith("{")


def parse_service_config(document: Mapping[str, Any]) -> ServiceConfig:
    """Validate a document. Raises ``ConfigError`` with the path of the first bad field."""
    top = Fields(document, "")
    top.refuse(*_NOT_YET)
    top.only("loadBalancingConfig", "methodConfig", "retryThrottling", "seawall")
    own = top.child("seawall") or Fields({}, "seawall")
    own.only(
        "retryBudget", "hedgingBudget", "breaker", "outlierDetection", "adaptiveThrottling",
        "slowStart", "subset",
    )  # fmt: skip
    balancing = read_balancing(top, own)
    config = ServiceConfig(
        balancer=balancing.balancer,
        throttle=_throttle(top.child("retryThrottling")),
        budget=_budget(own.child("retryBudget"), BudgetPolicy(), "minRetriesPerSecond"),
        hedging_budget=_budget(own.child("hedgingBudget"), HEDGES, "minHedgesPerSecond"),
        breaker=_breaker(own.child("breaker")),
        outliers=balancing.outliers,
        adaptive=_adaptive(own.child("adaptiveThrottling")),
        slow_start=_slow_start(own.child("slowStart")),
        subset=balancing.subset,
        methods=read_methods(top),
    )
    _end_of_fallbacks(config)
    return config


def _end_of_fallbacks(config: ServiceConfig) -> None:
    """Raises ``ConfigError`` if methods answer for each other in a circle."""
    ending: set[str] = set()
    for policy in config.methods.values():
        chain: dict[str, None] = {}
        path = policy.fallback
        while path is not None and path not in ending:
            if path in chain:
                circle = " -> ".join([*chain][:10])
                raise ConfigError("methodConfig", f"fallbacks go in a circle: {circle}")
            chain[path] = None
            following = config.for_method(Method.from_path(path)).fallback
            path = None if following == path else following
        ending.update(chain)


def _throttle(fields: Fields | None) -> ThrottlePolicy | None:
    if fields is None:
        return None
    fields.only("maxTokens", "tokenRatio")
    return ThrottlePolicy(
        max_tokens=fields.number("maxTokens", above=0, most=1000, required=True),
        token_ratio=fields.number("tokenRatio", above=0, required=True),
    )


def _budget(fields: Fields | None, default: BudgetPolicy, floor: str) -> BudgetPolicy:
    if fields is None:
        return default
    fields.only("ratio", floor)
    return BudgetPolicy(
        ratio=fields.number("ratio", default.ratio, least=0, most=1),
        floor=fields.number(floor, default.floor, least=0),
    )


def _breaker(fields: Fields | None) -> BreakerPolicy:
    default = BreakerPolicy()
    if fields is None:
        return default
    fields.only(
        "consecutiveFailures", "openTime", "maxOpenTime", "failureRatio", "minimumCalls", "window"
    )
    fields.idle("minimumCalls", "window", without="failureRatio")
    ratio = fields.number("failureRatio", 0.0, above=0, most=1) if "failureRatio" in fields else 0.0
    open_time, most = _open_times(fields, default)
    return BreakerPolicy(
        consecutive_failures=fields.integer(
            "consecutiveFailures", default.consecutive_failures, least=1
        ),
        open_time=open_time,
        max_open_time=most,
        failure_ratio=ratio or None,
        minimum_calls=fields.integer("minimumCalls", default.minimum_calls, least=1),
        window=fields.duration("window", default.window),
    )


def _open_times(fields: Fields, default: BreakerPolicy) -> tuple[float, float]:
    """``openTime`` and ``maxOpenTime``. Raises ``ConfigError`` if the first is above the other,
    and would be cut to it without a word."""
    first = fields.duration("openTime", default.open_time)
    most = fields.duration("maxOpenTime", default.max_open_time)
    if first > most and "openTime" in fields:
        how = f"is above maxOpenTime ({first:g} s > {most:g} s)"
        raise fields.wrong(f"{how}; give a maxOpenTime of as much, or more", "openTime")
    if first > most:
        how = f"is below openTime ({most:g} s < {first:g} s)"
        raise fields.wrong(f"{how}; give an openTime of as much, or less", "maxOpenTime")
    return first, most


def _adaptive(fields: Fields | None) -> AdaptiveThrottle | None:
    if fields is None:
        return None
    fields.only("ratio", "window", "cap", "allowance")
    default = AdaptiveThrottle()
    return AdaptiveThrottle(
        ratio=fields.number("ratio", default.ratio, least=1),
        window=fields.duration("window", default.window),
        cap=fields.number("cap", default.cap, above=0, most=0.99),
        allowance=fields.integer("allowance", default.allowance, least=0),
    )


def _slow_start(fields: Fields | None) -> SlowStartPolicy | None:
    if fields is None:
        return None
    fields.only("window", "aggression", "minWeightPercent")
    return SlowStartPolicy(
        window=fields.duration("window", required=True),
        aggression=fields.number("aggression", 1.0, above=0, most=100),
        least_weight=max(fields.number("minWeightPercent", 10.0, above=0, most=100) / 100, 1e-3),
    )
