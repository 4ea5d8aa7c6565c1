"""What is written to etcd, one transaction for many keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from seawall.registry.etcd import wire_pb2 as wire
from seawall.registry.etcd.naming import farewell

BATCH: Final = 100
"""Operations in one transaction; etcd by default takes 128."""


@dataclass(slots=True)
class Entry:
    """A key of this process: what it is to hold, and what etcd is known to have."""

    owner: object
    value: bytes
    lease: int = 0
    """The lease it was last sent with; 0 = etcd can't know it."""
    revision: int = 0
    """Where it was last put."""
    written: bool = False


Entries = Mapping[bytes, Entry]


def puts(entries: Entries, lease: int) -> wire.TxnRequest:
    """Have the keys hold what they are to hold."""
    request = wire.TxnRequest()
    for key, entry in entries.items():
        put = wire.PutRequest(key=key, value=entry.value, lease=lease)
        request.success.add(request_put=put)
    return request


def farewells(entries: Entries) -> wire.TxnRequest:
    """Say goodbye in each key that is still ours."""
    return _each(_farewell, entries)


def deletions(entries: Entries) -> wire.TxnRequest:
    """Delete each key that is still ours."""
    return _each(_delete, entries)


def _each(operation: Callable[[bytes, Entry], wire.RequestOp], entries: Entries) -> wire.TxnRequest:
    """Do something to each key that is still ours: another process may have taken it over."""
    request = wire.TxnRequest()
    for key, entry in entries.items():
        lease = wire.Compare.LEASE
        ours = wire.Compare(target=lease, result=wire.Compare.EQUAL, key=key, lease=entry.lease)
        nested = wire.TxnRequest(compare=[ours], success=[operation(key, entry)])
        request.success.add(request_txn=nested)
    return request


def _farewell(key: bytes, entry: Entry) -> wire.RequestOp:
    put = wire.PutRequest(key=key, value=farewell(entry.value), lease=entry.lease)
    return wire.RequestOp(request_put=put)


def _delete(key: bytes, entry: Entry) -> wire.RequestOp:
    return wire.RequestOp(request_delete_range=wire.DeleteRangeRequest(key=key))
