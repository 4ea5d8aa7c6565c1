"""One exception class for each status code but OK.

``details`` and ``wire`` are imported by the first error that tells more than code and message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from grpc import StatusCode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from google.protobuf.message import Message

    from seawall.statuses.details import (
        Details,
        FieldViolation,
        Given,
        Link,
        LocalizedText,
        Resource,
        Violation,
    )

    M = TypeVar("M", bound=Message)


class StatusError(Exception):
    """An error with a gRPC status. Raise one of its subclasses, or a subclass of your own.

    ``message`` is for developers, and goes to the caller as it is: 2 KiB of it at most. What
    programs read goes beside it, in gRPC's standard form (``google.rpc``), by keyword:

    - ``reason``, an identifier such as ``"OUT_OF_STOCK"``; ``domain``, who gives it that meaning
      (default: the full proto name of the service); ``info``, a mapping of text to text
    - ``field_violations``: what is wrong with the request, a mapping of field to description, or
      pairs of them, or ``FieldViolation``s
    - ``retry_after``: seconds until it makes sense to try again. With ``Unavailable`` and
      ``ResourceExhausted`` it also vouches that nothing was done: seawall's clients then try
      again even what has effects.
    - ``resource``: ``(type, name)`` of what this is about, or a ``Resource``
    - ``violations``: preconditions that are not met (of a ``ResourceExhausted``: quotas that are
      used up), a mapping of subject to description, or pairs of them, or ``Violation``s
    - ``localized``: ``(locale, text)`` to show to the user
    - ``links``: pairs of description and URL that help

    and any protobuf messages of your own by position. None means that there is none. Raises
    TypeError or ValueError naming the keyword whose value makes no sense.

    What a client catches has the same attributes. They are empty if the server told nothing, or
    nothing that can be read.
    """

    status_code: ClassVar[StatusCode] = StatusCode.UNKNOWN
    """What a raised one is sent as. Subclasses of your own may set it; OK is refused."""

    _given: Details | None = None

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        code = cls.status_code
        if not isinstance(code, StatusCode) or code is StatusCode.OK:
            raise TypeError(
                f"status_code of {cls.__name__} is {code!r}: set a grpc.StatusCode other than OK"
            )

    def __init__(self, message: str = "", *messages: Message, **given: Unpack[Given]) -> None:
        super().__init__(*((message,) if message else ()))
        if messages or given:
            from seawall.statuses.details import details_of

            self._given = details_of(messages, given)

    def code(self) -> StatusCode:
        """The status code."""
        return self.status_code

    def details(self) -> str:
        """The message, by the name that gRPC has for it."""
        return str(self.args[0]) if self.args else ""

    @property
    def reason(self) -> str:
        """Why, as an identifier. Empty = not told."""
        return self.told().reason

    @property
    def domain(self) -> str:
        """Who gives ``reason`` its meaning. Empty = not told."""
        return self.told().domain

    @property
    def info(self) -> Mapping[str, str]:
        """What belongs to ``reason``."""
        return self.told().info

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """What is wrong with the request: each with ``field``, ``description``, ``reason``."""
        return self.told().field_violations

    @property
    def retry_after(self) -> float | None:
        """Seconds until it makes sense to try again. None = not told."""
        return self.told().retry_after

    @property
    def resource(self) -> Resource | None:
        """What this is about: ``type``, ``name``, ``owner``, ``description``. None = not told."""
        return self.told().resource

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Preconditions or quotas: each with ``subject``, ``description``, ``type``."""
        return self.told().violations

    @property
    def localized(self) -> LocalizedText | None:
        """What to show to the user: ``locale`` and ``text``. None = not told."""
        return self.told().localized

    @property
    def links(self) -> tuple[Link, ...]:
        """Pages that help: each with ``description`` and ``url``."""
        return self.told().links

    def status(self) -> Any:
        """All of it as a ``google.rpc.status_pb2.Status``."""
        from seawall.statuses.wire import status_with

        return status_with(self.code(), self.details(), self.told())

    def unpack(self, kind: type[M]) -> list[M]:
        """The messages of this kind that it carries, standard ones of ``google.rpc`` too."""
        from seawall.statuses.wire import unpacked

        return unpacked(self.status(), kind)

    @property
    def plain(self) -> bool:
        """Whether it was given no more than a message."""
        return self._given is None

    def told(self) -> Details:
        """All that it tells beside code and message, as plain values."""
        if self._given is None:
            from seawall.statuses.details import Details

            self._given = Details()
        return self._given


class Cancelled(StatusError):
    """CANCELLED: the work was given up. What cancels a call *here* raises CancelledError."""

    status_code = StatusCode.CANCELLED


class Unknown(StatusError):
    """UNKNOWN: an error of which nothing more can be said."""

    status_code = StatusCode.UNKNOWN


class InvalidArgument(StatusError):
    """INVALID_ARGUMENT: the request makes no sense, whatever state the service is in."""

    status_code = StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(StatusError):
    """DEADLINE_EXCEEDED: the time was up. It may have been done nevertheless."""

    status_code = StatusCode.DEADLINE_EXCEEDED


class NotFound(StatusError):
    """NOT_FOUND: what was asked for is not there."""

    status_code = StatusCode.NOT_FOUND


class AlreadyExists(StatusError):
    """ALREADY_EXISTS: what was to be made is there already."""

    status_code = StatusCode.ALREADY_EXISTS


class PermissionDenied(StatusError):
    """PERMISSION_DENIED: the caller is known, and may not do this."""

    status_code = StatusCode.PERMISSION_DENIED


class ResourceExhausted(StatusError):
    """RESOURCE_EXHAUSTED: a quota is used up, or there is too much to do."""

    status_code = StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(StatusError):
    """FAILED_PRECONDITION: not in this state; trying again won't help until that is mended."""

    status_code = StatusCode.FAILED_PRECONDITION


class Aborted(StatusError):
    """ABORTED: somebody else was quicker; the caller may begin its whole transaction again."""

    status_code = StatusCode.ABORTED


class OutOfRange(StatusError):
    """OUT_OF_RANGE: past the end of what there is now."""

    status_code = StatusCode.OUT_OF_RANGE


class Unimplemented(StatusError):
    """UNIMPLEMENTED: the server does not do this. Clients look for an instance that does."""

    status_code = StatusCode.UNIMPLEMENTED


class Internal(StatusError):
    """INTERNAL: something that must not be is. Held against the instance that says it."""

    status_code = StatusCode.INTERNAL


class Unavailable(StatusError):
    """UNAVAILABLE: not now. Clients try again where that is safe, at another instance."""

    status_code = StatusCode.UNAVAILABLE


class DataLoss(StatusError):
    """DATA_LOSS: data is gone or spoilt for good."""

    status_code = StatusCode.DATA_LOSS


class Unauthenticated(StatusError):
    """UNAUTHENTICATED: who the caller is was not shown, or not in a way that counts."""

    status_code = StatusCode.UNAUTHENTICATED


_KINDS: Final[dict[StatusCode, type[StatusError]]] = {
    kind.status_code: kind for kind in StatusError.__subclasses__()
}


def kind_of(code: StatusCode) -> type[StatusError]:
    """The class of a code. Raises KeyError for OK."""
    return _KINDS[code]
