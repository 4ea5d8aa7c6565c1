from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class PlaceOrderRequest(_message.Message):
    __slots__ = ("order_id", "sku", "count")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    SKU_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    sku: str
    count: int
    def __init__(self, order_id: _Optional[str] = ..., sku: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("order_id", "cents")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    cents: int
    def __init__(self, order_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class QuoteRequest(_message.Message):
    __slots__ = ("sku", "count")
    SKU_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    sku: str
    count: int
    def __init__(self, sku: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("cents", "available")
    CENTS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    cents: int
    available: bool
    def __init__(self, cents: _Optional[int] = ..., available: bool = ...) -> None: ...
