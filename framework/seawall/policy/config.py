"""Service config: gRPC's own JSON, with seawall's fields under the one key ``"seawall"``.

A bad document is refused whole, with the path of the offending field. The matching rule is
gRPC's: ``{service, method}`` over ``{service}`` over ``{}``; one entry wins whole, nothing merges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from seawall.call import Method
from seawall.errors import ConfigError
from seawall.fields import Fields
from seawall.policy.breaker import BreakerPolicy
from seawall.policy.retry import NEVER, RetryPolicy

BALANCERS: Final = ("least_loaded", "round_robin")
"""What ``loadBalancingConfig`` may name. The first of these is the default."""

_NOT_YET: Final = ("healthCheckConfig", "connectionScaling")
_NOT_YET_OF_METHODS: Final = ("hedgingPolicy", "maxRequestMessageBytes", "maxResponseMessageBytes")
"""gRPC's fields that are refused, as ignoring them would be to promise what isn't done."""

_MAX_ATTEMPTS: Final = 5  # gRFC A6: more is read as 5


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """What the config says of one method."""

    timeout: float | None = None
    """Seconds; the caller's own ``timeout`` wins if it is shorter."""
    wait_for_ready: bool | None = None
    """None = not said. The caller's own choice wins."""
    retry: RetryPolicy = RetryPolicy()
    idempotent: bool | None = None
    """``seawall.idempotent``: overrides the contract; None = as the proto says."""


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """``seawall.retryBudget``: how many retries all calls to a service may make together."""

    ratio: float = 0.1
    floor: float = 3.0
    """Retries a second that are allowed whatever the traffic."""


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """``retryThrottling`` (gRFC A6): takes the place of the budget when it is given."""

    max_tokens: float
    token_ratio: float


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """A whole document, validated."""

    balancer: str = BALANCERS[0]
    throttle: ThrottlePolicy | None = None
    budget: BudgetPolicy = BudgetPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    methods: Mapping[tuple[str, str], MethodPolicy] = field(default_factory=dict)
    """By (service, method); an empty method is the whole service, two empty ones everything."""

    def for_method(self, method: Method) -> MethodPolicy:
        """The one entry that applies to ``method``."""
        for key in ((method.service, method.name), (method.service, ""), ("", "")):
            if key in self.methods:
                return self.methods[key]
        return MethodPolicy()


def load_service_config(source: str | Path | Mapping[str, Any] | None) -> ServiceConfig:
    """Read a service config from a mapping, a JSON text, or the path of a JSON file.

    None is the default: least-loaded balancing, three attempts for idempotent methods.
    Raises ``ConfigError``.
    """
    if source is None:
        return ServiceConfig()
    if isinstance(source, Mapping):
        return parse_service_config(source)
    origin = "service config"
    text = str(source)
    if isinstance(source, Path) or not text.lstrip().startswith("{"):
        origin = f"service config file {source}"
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError("", f"{origin} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError("", f"{origin} is not UTF-8 text") from None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("", f"{origin} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError("", f"{origin} must be a JSON object, not {type(document).__name__}")
    return parse_service_config(document)


def parse_service_config(document: Mapping[str, Any]) -> ServiceConfig:
    """Validate a document. Raises ``ConfigError`` with the path of the first bad field."""
    top = Fields(document, "")
    top.only("loadBalancingConfig", "methodConfig", "retryThrottling", "seawall", *_NOT_YET)
    top.refuse(*_NOT_YET)
    own = top.child("seawall")
    if own is not None:
        own.only("retryBudget", "breaker")
    return ServiceConfig(
        balancer=_balancer(top),
        throttle=_throttle(top.child("retryThrottling")),
        budget=_budget(own.child("retryBudget") if own else None),
        breaker=_breaker(own.child("breaker") if own else None),
        methods=_methods(top),
    )


def _balancer(top: Fields) -> str:
    named: list[str] = []
    entries = top.children("loadBalancingConfig")
    for entry in entries:
        if len(entry.names) != 1:
            raise entry.wrong("must have exactly one field, the name of a policy")
        named.append(entry.names[0])
        if named[-1] in BALANCERS:
            entry.child(named[-1])
            return named[-1]
    if entries:
        raise top.wrong(
            f"knows none of {', '.join(named)}; known: {', '.join(BALANCERS)}",
            "loadBalancingConfig",
        )
    return BALANCERS[0]


def _throttle(fields: Fields | None) -> ThrottlePolicy | None:
    if fields is None:
        return None
    fields.only("maxTokens", "tokenRatio")
    return ThrottlePolicy(
        max_tokens=fields.number("maxTokens", above=0, most=1000, required=True),
        token_ratio=fields.number("tokenRatio", above=0, required=True),
    )


def _budget(fields: Fields | None) -> BudgetPolicy:
    default = BudgetPolicy()
    if fields is None:
        return default
    fields.only("ratio", "minRetriesPerSecond")
    return BudgetPolicy(
        ratio=fields.number("ratio", default.ratio, least=0, most=1),
        floor=fields.number("minRetriesPerSecond", default.floor, least=0),
    )


def _breaker(fields: Fields | None) -> BreakerPolicy:
    default = BreakerPolicy()
    if fields is None:
        return default
    fields.only("consecutiveFailures", "openTime", "maxOpenTime")
    return BreakerPolicy(
        consecutive_failures=fields.integer(
            "consecutiveFailures", default.consecutive_failures, least=1
        ),
        open_time=fields.duration("openTime", default.open_time),
        max_open_time=fields.duration("maxOpenTime", default.max_open_time),
    )


def _methods(top: Fields) -> dict[tuple[str, str], MethodPolicy]:
    methods: dict[tuple[str, str], MethodPolicy] = {}
    for entry in top.children("methodConfig"):
        policy = _method(entry)
        for name in entry.children("name"):
            key = _name(name)
            if key in methods:
                raise name.wrong(f"names {'/'.join(key).rstrip('/') or 'the default'} twice")
            methods[key] = policy
    return methods


def _name(fields: Fields) -> tuple[str, str]:
    fields.only("service", "method")
    service, method = fields.text("service"), fields.text("method")
    if method and not service:
        raise fields.wrong("names a method without a service", "method")
    return service, method


def _method(fields: Fields) -> MethodPolicy:
    fields.only("name", "timeout", "waitForReady", "retryPolicy", "seawall", *_NOT_YET_OF_METHODS)
    fields.refuse(*_NOT_YET_OF_METHODS)
    own = fields.child("seawall") or Fields({}, "")
    own.only("idempotent", "retries", "retryNonIdempotent")
    retry = _retry(fields.child("retryPolicy"), own.flag("retryNonIdempotent") or False)
    return MethodPolicy(
        timeout=fields.duration("timeout", None),
        wait_for_ready=fields.flag("waitForReady"),
        retry=NEVER if own.flag("retries") is False else retry,
        idempotent=own.flag("idempotent"),
    )


def _retry(fields: Fields | None, non_idempotent: bool) -> RetryPolicy:
    if fields is None:
        return RetryPolicy(non_idempotent=non_idempotent)
    fields.only(
        "maxAttempts", "initialBackoff", "maxBackoff", "backoffMultiplier",
        "retryableStatusCodes", "perAttemptRecvTimeout",
    )  # fmt: skip
    return RetryPolicy(
        max_attempts=min(fields.integer("maxAttempts", least=2), _MAX_ATTEMPTS),
        initial_backoff=fields.duration("initialBackoff", required=True),
        max_backoff=fields.duration("maxBackoff", required=True),
        multiplier=fields.number("backoffMultiplier", above=0, most=1000, required=True),
        codes=fields.codes("retryableStatusCodes"),
        attempt_timeout=fields.duration("perAttemptRecvTimeout", None),
        non_idempotent=non_idempotent,
    )
