"""What an error tells beside its code and message, as plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypedDict, TypeVar

from google.protobuf.message import Message

MOST_SECONDS: Final = 315_576_000_000.0
"""The longest ``google.protobuf.Duration``: 10,000 years."""


class FieldViolation(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    """Its path: ``address.city``, ``items[2].sku``."""
    description: str = ""
    reason: str = ""
    """Why, as an identifier: ``"TOO_LONG"``."""


class Violation(NamedTuple):
    """A precondition that is not met, or a quota that is used up."""

    subject: str
    """Whose: ``"user:42"``."""
    description: str = ""
    type: str = ""
    """Of a precondition, as an identifier: ``"TERMS_OF_SERVICE"``. Quotas have none."""


class Resource(NamedTuple):
    """What an error is about."""

    type: str
    name: str
    owner: str = ""
    description: str = ""


class LocalizedText(NamedTuple):
    """What to show to a user."""

    locale: str
    """As in BCP 47: ``"en-GB"``."""
    text: str


class Link(NamedTuple):
    """A page that helps."""

    description: str
    url: str


class Given(TypedDict, total=False):
    """The keywords of a ``StatusError``, as they may be given."""

    reason: str | None
    domain: str | None
    info: Mapping[str, object] | None
    field_violations: Mapping[str, str] | Iterable[tuple[str, ...]] | None
    retry_after: float | None
    resource: tuple[str, ...] | None
    violations: Mapping[str, str] | Iterable[tuple[str, ...]] | None
    localized: tuple[str, str] | None
    links: Iterable[tuple[str, str]] | None


@dataclass(frozen=True, slots=True)
class Details:
    """All of that. The attributes of ``StatusError`` say what they mean."""

    reason: str = ""
    domain: str = ""
    info: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    resource: Resource | None = None
    violations: tuple[Violation, ...] = ()
    localized: LocalizedText | None = None
    links: tuple[Link, ...] = ()
    messages: tuple[Message, ...] = ()
    """Of any other kind."""


def text_of(value: object) -> str:
    """A value as text that protobuf and gRPC take: lone surrogates are spelt out."""
    text = value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def details_of(messages: tuple[Message, ...], given: Mapping[str, Any]) -> Details:
    """What was given to a ``StatusError``, checked. Raises TypeError or ValueError."""
    for message in messages:
        if not isinstance(message, Message):
            raise TypeError(f"details must be protobuf messages, not {type(message).__name__}")
    values: dict[str, Any] = {}
    for name, value in given.items():
        read = _READ.get(name)
        if read is None:
            raise TypeError(f"a status has no {name!r}; known: {', '.join(sorted(_READ))}")
        if value is not None:
            values[name] = read(name, value)
    return Details(messages=messages, **values)


T = TypeVar("T", bound=tuple[Any, ...])


def _text(name: str, value: object) -> str:
    return text_of(value)


def _info(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping of text to text, not {value!r}")
    return {text_of(key): text_of(item) for key, item in value.items()}


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number of seconds, not {value!r}")
    return min(max(float(value), 0.0), MOST_SECONDS)  # what is left of a wait may just have ended


def _one(kind: type[T], least: int) -> Callable[[str, object], T]:
    """Reads a tuple of at least so many texts."""
    most = len(kind._fields)  # type: ignore[attr-defined]

    def read(name: str, value: object) -> T:
        if not isinstance(value, tuple | list) or not least <= len(value) <= most:
            fields = ", ".join(kind._fields)  # type: ignore[attr-defined]
            raise TypeError(f"{name}: ({fields}) is expected, not {value!r}")
        return kind(*map(text_of, value))

    return read


def _several(kind: type[T], least: int) -> Callable[[str, object], tuple[T, ...]]:
    """Reads an iterable of them, or a mapping of their first to their second text."""
    one = _one(kind, least)

    def read(name: str, value: object) -> tuple[T, ...]:
        items = value.items() if isinstance(value, Mapping) else value
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise TypeError(f"{name} must be a mapping or an iterable of tuples, not {value!r}")
        return tuple(one(name, item) for item in items)

    return read


_READ: Final[dict[str, Callable[[str, object], Any]]] = {
    "reason": _text,
    "domain": _text,
    "info": _info,
    "field_violations": _several(FieldViolation, 2),
    "retry_after": _seconds,
    "resource": _one(Resource, 2),
    "violations": _several(Violation, 2),
    "localized": _one(LocalizedText, 2),
    "links": _several(Link, 2),
}
