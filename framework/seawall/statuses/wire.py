"""Details to and from ``google.rpc``, and what of them fits into a response's trailing metadata."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, EncodeError, Message
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc import StatusCode

from seawall.statuses.details import (
    Details,
    FieldViolation,
    Link,
    LocalizedText,
    Resource,
    Violation,
    text_of,
)

KEY: Final = "grpc-status-details-bin"
ENTRY: Final = 32
"""Bytes that HTTP/2 reckons for each entry of metadata beside its key and value."""

_log = logging.getLogger("seawall.server")

M = TypeVar("M", bound=Message)

# --- to google.rpc ---------------------------------------------------------------------------


def status_with(code: StatusCode, message: str, details: Details) -> Any:
    """A ``Status`` of all there is. What can't be packed is left out, and the log says so."""
    status = Status(code=code.value[0], message=text_of(message))
    for detail in (*_standard(details, code), *details.messages):
        try:
            if isinstance(detail, Packed):
                status.details.append(detail)
            else:
                status.details.add().Pack(detail)
        except EncodeError as error:
            del status.details[-1]
            _log.error("a %s can't be told: %s", detail.DESCRIPTOR.full_name, error)
    return status


def fitted(status: Any, room: int, path: str) -> bytes:
    """A status as it is sent, in ``room`` bytes at most. Empty if not one detail is left.

    What takes most is dropped first, with a line in the log: over 8 KiB of metadata gRPC would
    replace the whole answer by an error of its own.
    """
    while status.details:
        data: bytes = status.SerializeToString()
        if on_the_wire(data) <= room:
            return data
        sizes = [packed.ByteSize() for packed in status.details]
        size = max(sizes)
        dropped = status.details.pop(sizes.index(size))
        _log.warning(
            "%s: a detail of its error, %s of %d bytes, is not sent: there is room for %d in all",
            path,
            _name_of(dropped),
            size,
            max(room, 0) * 3 // 4,
        )
    return b""


def on_the_wire(value: str | bytes) -> int:
    """The bytes that a metadata value takes: binary ones may travel as base64."""
    return len(value) if isinstance(value, str) else (len(value) + 2) // 3 * 4


def _standard(details: Details, code: StatusCode) -> Iterator[Message]:
    if details.reason or details.domain or details.info:
        yield rpc.ErrorInfo(reason=details.reason, domain=details.domain, metadata=details.info)
    if details.field_violations:
        wrong = (rpc.BadRequest.FieldViolation(**v._asdict()) for v in details.field_violations)
        yield rpc.BadRequest(field_violations=wrong)
    if details.violations:
        yield _violated(details.violations, code)
    if details.retry_after is not None:
        yield rpc.RetryInfo(retry_delay=_duration(details.retry_after))
    if details.resource is not None:
        kind, name, owner, description = details.resource
        yield rpc.ResourceInfo(
            resource_type=kind, resource_name=name, owner=owner, description=description
        )
    if details.localized is not None:
        yield rpc.LocalizedMessage(locale=details.localized.locale, message=details.localized.text)
    if details.links:
        yield rpc.Help(links=(rpc.Help.Link(**link._asdict()) for link in details.links))


def _violated(violations: tuple[Violation, ...], code: StatusCode) -> Message:
    if code is StatusCode.RESOURCE_EXHAUSTED:
        quota = rpc.QuotaFailure
        return quota(  # type: ignore[no-any-return]
            violations=(
                quota.Violation(subject=v.subject, description=v.description) for v in violations
            )
        )
    met = rpc.PreconditionFailure
    return met(violations=(met.Violation(**v._asdict()) for v in violations))  # type: ignore[no-any-return]


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


# --- from google.rpc -------------------------------------------------------------------------


def status_in(code: StatusCode, trailing: Iterable[tuple[str, Any]] | None) -> Any:
    """The ``Status`` that came with an error's trailing metadata; None if it can't be believed.

    That is one that is not a ``Status``, or has another code than the error: gRPC's own counts.
    """
    data = next((value for key, value in trailing or () if key == KEY), None)
    if not isinstance(data, bytes):
        return None
    try:
        status = Status.FromString(data)
    except DecodeError:
        return None
    return status if status.code == code.value[0] else None


def details_in(status: Any) -> Details:
    """The standard details of a status. What can't be read is passed over."""
    found: dict[str, Any] = {}
    for packed in status.details:
        kind, read = _READERS.get(_name_of(packed), (None, None))
        if kind is None or read is None:
            continue
        try:
            told = read(kind.FromString(packed.value))
        except DecodeError:
            continue
        for name, value in told.items():
            if isinstance(value, list):
                found[name] = (*found.get(name, ()), *value)
            else:
                found.setdefault(name, value)
    return Details(**found)


def unpacked(status: Any, kind: type[M]) -> list[M]:
    """The messages of one kind among a status's details. What can't be read is passed over."""
    name, messages = kind.DESCRIPTOR.full_name, []
    for packed in status.details:
        if _name_of(packed) == name:
            try:
                messages.append(kind.FromString(packed.value))
            except DecodeError:
                continue
    return messages


def _name_of(packed: Packed) -> str:
    return packed.type_url.rpartition("/")[2]


def _error_info(message: Any) -> dict[str, Any]:
    return {
        "reason": message.reason,
        "domain": message.domain,
        "info": dict(message.metadata),
    }


def _bad_request(message: Any) -> dict[str, Any]:
    wrong = message.field_violations
    return {"field_violations": [FieldViolation(v.field, v.description, v.reason) for v in wrong]}


def _precondition(message: Any) -> dict[str, Any]:
    return {"violations": [Violation(v.subject, v.description, v.type) for v in message.violations]}


def _quota(message: Any) -> dict[str, Any]:
    return {"violations": [Violation(v.subject, v.description) for v in message.violations]}


def _retry(message: Any) -> dict[str, Any]:
    delay = message.retry_delay
    return {"retry_after": max(0.0, delay.seconds + delay.nanos / 1e9)}


def _resource(message: Any) -> dict[str, Any]:
    kind, name = message.resource_type, message.resource_name
    return {"resource": Resource(kind, name, message.owner, message.description)}


def _localized(message: Any) -> dict[str, Any]:
    return {"localized": LocalizedText(message.locale, message.message)}


def _help(message: Any) -> dict[str, Any]:
    return {"links": [Link(link.description, link.url) for link in message.links]}


_READERS: Final[dict[str, tuple[Any, Callable[[Any], dict[str, Any]]]]] = {
    kind.DESCRIPTOR.full_name: (kind, read)
    for kind, read in (
        (rpc.ErrorInfo, _error_info),
        (rpc.BadRequest, _bad_request),
        (rpc.PreconditionFailure, _precondition),
        (rpc.QuotaFailure, _quota),
        (rpc.RetryInfo, _retry),
        (rpc.ResourceInfo, _resource),
        (rpc.LocalizedMessage, _localized),
        (rpc.Help, _help),
    )
}
