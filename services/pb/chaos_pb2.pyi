from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Fault(_message.Message):
    __slots__ = ("slowness", "unavailable")
    SLOWNESS_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    slowness: float
    unavailable: bool
    def __init__(self, slowness: _Optional[float] = ..., unavailable: bool = ...) -> None: ...
