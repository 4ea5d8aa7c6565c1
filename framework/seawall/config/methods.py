"""``methodConfig`` of the service config. The matching rule is gRPC's: ``{service, method}`` over
``{service}`` over ``{}``; one entry wins whole, nothing merges."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from seawall.config.policies import MethodPolicy
from seawall.fields import Fields, in_brief
from seawall.policy.bulkhead import BulkheadPolicy
from seawall.policy.hedge import HedgePolicy
from seawall.policy.rate import RatePolicy
from seawall.policy.retry import NEVER, RetryPolicy
from seawall.policy.stale import StalePolicy

_NOT_YET: Final = ("maxRequestMessageBytes", "maxResponseMessageBytes")
"""gRPC's fields that are refused, as ignoring them would be to promise what isn't done."""

_MAX_ATTEMPTS: Final = 5  # gRFC A6: more is read as 5
_PATH: Final = re.compile(r"/[\w.]+/\w+", re.ASCII)


def read_methods(top: Fields) -> dict[tuple[str, str], MethodPolicy]:
    """The policies by (service, method)."""
    methods: dict[tuple[str, str], MethodPolicy] = {}
    for number, entry in enumerate(top.children("methodConfig")):
        names = [(_name(name), name) for name in entry.children("name")]
        policy = replace(_method(entry), entry=number, names=tuple(key for key, _ in names))
        for key, name in names:
            if key in methods:
                named = in_brief("/".join(key).rstrip("/"))
                raise name.wrong(f"names {named or 'the default'} twice")
            methods[key] = policy
    return methods


def _name(fields: Fields) -> tuple[str, str]:
    fields.only("service", "method")
    service, method = fields.text("service"), fields.text("method")
    if method and not service:
        raise fields.wrong("names a method without a service", "method")
    return service, method


def _method(fields: Fields) -> MethodPolicy:
    fields.refuse(*_NOT_YET)
    fields.only("name", "timeout", "waitForReady", "retryPolicy", "hedgingPolicy", "seawall")
    own = fields.child("seawall") or Fields({}, "")
    own.only(
        "idempotent", "retries", "retryNonIdempotent", "hedging", "bulkhead", "rateLimit",
        "staleIfError", "fallback",
    )  # fmt: skip
    if "retryPolicy" in fields and "hedgingPolicy" in fields:
        raise fields.wrong(
            "can't stand beside a retryPolicy: it is one or the other", "hedgingPolicy"
        )
    return MethodPolicy(
        timeout=fields.duration("timeout", None),
        wait_for_ready=fields.flag("waitForReady"),
        retry=_retry(fields.child("retryPolicy"), own),
        hedge=_hedge(fields.child("hedgingPolicy"), own.child("hedging")),
        idempotent=own.flag("idempotent"),
        bulkhead=_bulkhead(own.child("bulkhead")),
        rate=_rate(own.child("rateLimit")),
        stale=_stale(own.child("staleIfError")),
        fallback=_fallback(own.child("fallback")),
    )


def _retry(fields: Fields | None, own: Fields) -> RetryPolicy:
    """gRPC's ``retryPolicy`` and what is seawall's ``own`` about it."""
    non_idempotent = own.flag("retryNonIdempotent") or False
    if own.flag("retries") is False:
        if fields is not None or non_idempotent:
            beside = "retryNonIdempotent" if fields is None else "a retryPolicy"
            raise own.wrong(f"can't be false beside {beside}: leave one out", "retries")
        return NEVER
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


def _hedge(standard: Fields | None, own: Fields | None) -> HedgePolicy | None:
    """gRPC's ``hedgingPolicy``, or ``seawall.hedging``: the same with a percentile as the delay."""
    default = HedgePolicy()
    if standard is not None:
        if own is not None:
            raise own.wrong("can't stand beside a hedgingPolicy: it is one or the other")
        standard.only("maxAttempts", "hedgingDelay", "nonFatalStatusCodes")
        codes = standard.codes("nonFatalStatusCodes") if "nonFatalStatusCodes" in standard else None
        return HedgePolicy(
            min(standard.integer("maxAttempts", least=2), _MAX_ATTEMPTS),
            standard.duration("hedgingDelay", 0.0, least=0.0),
            non_fatal=frozenset() if codes is None else codes,
        )
    if own is None:
        return None
    own.only("maxAttempts", "percentile", "delay")
    return HedgePolicy(
        min(own.integer("maxAttempts", default.max_attempts, least=2), _MAX_ATTEMPTS),
        own.duration("delay", None),
        own.number("percentile", 100 * default.percentile, least=50, most=99.9) / 100,
    )


def _bulkhead(fields: Fields | None) -> BulkheadPolicy | None:
    if fields is None:
        return None
    fields.only("maxConcurrent", "maxQueue", "maxWait")
    fields.idle("maxWait", without="maxQueue")
    return BulkheadPolicy(
        fields.integer("maxConcurrent", least=1),
        fields.integer("maxQueue", 0, least=0),
        fields.duration("maxWait", None),
    )


def _rate(fields: Fields | None) -> RatePolicy | None:
    if fields is None:
        return None
    fields.only("perSecond", "burst", "maxWait")
    return RatePolicy(
        fields.number("perSecond", above=0, required=True),
        fields.integer("burst", least=1) if "burst" in fields else None,
        fields.duration("maxWait", 0.0),
    )


def _stale(fields: Fields | None) -> StalePolicy | None:
    if fields is None:
        return None
    fields.only("maxAge", "maxEntries", "maxBytes", "vary")
    default = StalePolicy(1.0)
    return StalePolicy(
        fields.duration("maxAge", required=True),
        fields.integer("maxEntries", default.max_entries, least=1),
        tuple(name.lower() for name in fields.texts("vary")) if "vary" in fields else default.vary,
        fields.integer("maxBytes", default.max_bytes, least=1),
    )


def _fallback(fields: Fields | None) -> str | None:
    if fields is None:
        return None
    fields.only("method")
    path = fields.text("method")
    if not _PATH.fullmatch(path):
        raise fields.wrong(
            f'must be a path such as "/shop.v1.Archive/GetStock", not {in_brief(path)!r}', "method"
        )
    return path
