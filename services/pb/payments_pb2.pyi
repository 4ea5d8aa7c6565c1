from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ChargeRequest(_message.Message):
    __slots__ = ("order_id", "cents")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    cents: int
    def __init__(self, order_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("order_id", "cents")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    cents: int
    def __init__(self, order_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...
