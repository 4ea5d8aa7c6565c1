"""Keys and values in etcd's own gRPC naming format, so that Go services can share the registry.

``<namespace>/<service>/<instance id>`` -> ``{"Op":0,"Addr":"10.0.0.1:50051","Metadata":{...}}``.
A Go client dials ``etcd:///<namespace>/<service>`` with ``clientv3/naming/resolver``.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from seawall.call import JSON, Instance
from seawall.errors import ConfigError
from seawall.registry.addresses import address_problem

_ADD: Final = 0
"""``Op`` of an entry that stands."""
_DELETE: Final = 1
"""``Op`` of an entry whose owner is about to delete it."""
_ID: Final = "id"
_SERVICE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_IDENTITY: Final = re.compile(r"[^\s/\x00-\x1f\x7f]+")


class Malformed(ValueError):
    """A value under the prefix that is not an entry of this format."""


def prefix_of(namespace: str, service: str) -> bytes:
    """The prefix under which a service's entries are. Raises ``ConfigError`` for no proto name."""
    if not _SERVICE.fullmatch(service):
        raise ConfigError("service", f"{service!r} is not the full name of a proto service")
    return f"{namespace}/{service}/".encode()


def end_of(prefix: bytes) -> bytes:
    """The first key after all keys with this prefix (which ends with a slash)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def encode(namespace: str, instance: Instance) -> tuple[bytes, bytes]:
    """Key and value of an instance. Raises ``ConfigError`` if it can't be written."""
    if not _IDENTITY.fullmatch(instance.id):
        raise ConfigError("id", f"instance id {instance.id!r} would break the key")
    if problem := address_problem(instance.address):
        raise ConfigError(
            "address", f"{instance.address!r} of {instance.id!r} of {instance.service} {problem}"
        )
    metadata = {**instance.metadata, _ID: instance.id}
    try:
        value = json.dumps(
            {"Op": _ADD, "Addr": instance.address, "Metadata": metadata},
            separators=(",", ":"),
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        problem = f"of instance {instance.id!r} can't be written as JSON ({error})"
        raise ConfigError("metadata", problem) from None
    return prefix_of(namespace, instance.service) + instance.id.encode(), value.encode()


def farewell(value: bytes) -> bytes:
    """The value by which an owner says goodbye; a mere deletion may be an accident."""
    return json.dumps({**json.loads(value), "Op": _DELETE}, separators=(",", ":")).encode()


def decode(prefix: bytes, key: bytes, value: bytes, service: str) -> Instance | None:
    """The instance at a key; None if its owner has said goodbye.

    Raises ``Malformed``, whose text says what is wrong with the value.
    """
    try:
        entry = json.loads(value, parse_constant=_no_such_number)
        tail = key[len(prefix) :].decode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON ({error})") from None
    if not isinstance(entry, dict):
        raise Malformed("not a JSON object")
    operation = entry.get("Op", _ADD)
    if operation == _DELETE:
        return None
    if operation != _ADD:
        raise Malformed(f"Op is {operation!r}, expected 0")
    address = entry.get("Addr")
    if not isinstance(address, str) or not address:
        raise Malformed("Addr is missing or not a string")
    if problem := address_problem(address):
        raise Malformed(f"Addr {address!r}: {problem}")
    metadata = _metadata(entry.get("Metadata"))
    identity = metadata.pop(_ID, None)
    return Instance(service, identity if isinstance(identity, str) else tail, address, metadata)


def _metadata(value: JSON) -> dict[str, JSON]:
    """etcd's own format lets Metadata be anything; ours is an object."""
    if value is None:
        return {}
    return dict(value) if isinstance(value, dict) else {"metadata": value}


def _no_such_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
