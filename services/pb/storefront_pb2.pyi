from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class HomeRequest(_message.Message):
    __slots__ = ("customer",)
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    customer: str
    def __init__(self, customer: _Optional[str] = ...) -> None: ...

class HomePage(_message.Message):
    __slots__ = ("skus", "personal")
    SKUS_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    skus: _containers.RepeatedScalarFieldContainer[str]
    personal: bool
    def __init__(self, skus: _Optional[_Iterable[str]] = ..., personal: bool = ...) -> None: ...

class CheckoutRequest(_message.Message):
    __slots__ = ("order_id", "sku", "count")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    SKU_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    sku: str
    count: int
    def __init__(self, order_id: _Optional[str] = ..., sku: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Confirmation(_message.Message):
    __slots__ = ("order_id", "cents")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    cents: int
    def __init__(self, order_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...
