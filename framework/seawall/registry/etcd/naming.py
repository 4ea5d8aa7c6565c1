"""Keys and values in etcd's own gRPC naming format, so that Go services can share the registry.

``<namespace>/<service>/<instance id>`` ->
``{"Op":0,"Addr":"10.0.0.1:50051","Metadata":null,"Facts":{...}}``.
A Go client dials ``etcd:///<namespace>/<service>`` with ``clientv3/naming/resolver``.

Our facts have a field of their own, which Go skips. As ``Metadata`` they would kill Go clients:
the resolver hands it to grpc-go, which compares it with ``==`` up to 1.71, and that panics on a
JSON object.
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
_FACTS: Final = "Facts"
_LONGEST_ADDRESS: Final = 300
"""Characters. A DNS name has at most 253, the path of a Unix socket 107."""
_SHOWN: Final = 100
"""Characters of somebody else's text that an error quotes."""
_SERVICE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_IDENTITY: Final = re.compile(r"[^\s/\x00-\x1f\x7f\ud800-\udfff]+")


class Malformed(ValueError):
    """A value under the prefix that is not an entry of this format."""


def prefix_of(namespace: str, service: str) -> bytes:
    """The prefix under which a service's entries are. Raises ``ConfigError`` for no proto name."""
    check_service(service)
    return f"{namespace}/{service}/".encode()


def check_service(service: str) -> None:
    """Raise ``ConfigError`` for what is not the full name of a proto service."""
    if not _SERVICE.fullmatch(service):
        raise ConfigError("service", f"{service!r} is not the full name of a proto service")


def end_of(prefix: bytes) -> bytes:
    """The first key after all keys with this prefix (which ends with a slash)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def encode(namespace: str, instance: Instance) -> tuple[bytes, bytes]:
    """Key and value of an instance. Raises ``ConfigError`` if it can't be written."""
    if not _IDENTITY.fullmatch(instance.id):
        raise ConfigError("id", f"instance id {instance.id!r} would break the key")
    if problem := _address_problem(instance.address):
        raise ConfigError(
            "address", f"{instance.address!r} of {instance.id!r} of {instance.service} {problem}"
        )
    entry: dict[str, object] = {"Op": _ADD, "Addr": instance.address, "Metadata": None}
    try:
        value = json.dumps(
            {**entry, _FACTS: dict(instance.metadata)},
            separators=(",", ":"),
            allow_nan=False,
            ensure_ascii=False,
        ).encode()
    except (TypeError, ValueError) as error:
        problem = f"of instance {instance.id!r} can't be written as JSON ({error})"
        raise ConfigError("metadata", problem) from None
    return prefix_of(namespace, instance.service) + instance.id.encode(), value


def farewell(value: bytes) -> bytes:
    """The value by which an owner says goodbye; a mere deletion may be an accident."""
    return json.dumps({**json.loads(value), "Op": _DELETE}, separators=(",", ":")).encode()


def id_of(prefix: bytes, key: bytes) -> str:
    """The instance's id: what follows the prefix, as nothing else is unique in etcd.

    Raises ``Malformed`` if nothing follows, or no text.
    """
    try:
        identity = key[len(prefix) :].decode()
    except UnicodeDecodeError:
        raise Malformed("its key is not UTF-8") from None
    if not identity:
        raise Malformed("its key ends with the service's name: no instance id follows")
    return identity


def decode(prefix: bytes, key: bytes, value: bytes, service: str) -> Instance | None:
    """The instance at a key; None if its owner has said goodbye.

    Raises ``Malformed``, whose text says what is wrong with the entry.
    """
    identity = id_of(prefix, key)
    entry = json_object(value)
    operation = entry.get("Op", _ADD)
    if operation == _DELETE:
        return None
    if operation != _ADD:
        raise Malformed("Op is neither 0 (stands) nor 1 (says goodbye)")
    address = dialable("Addr", entry.get("Addr"))
    return Instance(service, identity, address, _facts(entry, identity))


def json_object(value: bytes) -> dict[str, JSON]:
    """Read a JSON object. Raises ``Malformed`` for anything else."""
    try:
        entry = _DECODER.decode(value.decode())
        if b"\\u" in value:
            # Half of a surrogate pair passes for text until somebody sends it on.
            json.dumps(entry, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON ({shortened(str(error))})") from None
    if not isinstance(entry, dict):
        raise Malformed("not a JSON object")
    return entry


def dialable(what: str, address: JSON) -> str:
    """``address``, if a client can dial it. Raises ``Malformed``, which names ``what``."""
    if not isinstance(address, str) or not address:
        raise Malformed(f"{what} is missing or not a string")
    if problem := _address_problem(address):
        raise Malformed(f"{what} {shortened(repr(address))} {shortened(problem)}")
    return address


def shortened(text: str) -> str:
    """``text`` as fits a log line: whoever writes to etcd may write a megabyte."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _address_problem(address: str) -> str | None:
    if len(address) > _LONGEST_ADDRESS:
        return f"has {len(address)} characters; no address has so many"
    if address.startswith("unix:"):
        return "is a path on one host, and etcd is for many: announce host:port"
    if address.startswith("[") and "%" in address:
        return "names a network card, which means something on its own host only"
    return address_problem(address)


def _facts(entry: dict[str, JSON], identity: str) -> dict[str, JSON]:
    """Ours, or what a Go service says as Metadata, which may be anything."""
    facts = entry.get(_FACTS)
    if facts is not None:
        if not isinstance(facts, dict):
            raise Malformed(f"{_FACTS} is not a JSON object")
        return facts
    metadata = entry.get("Metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        return {"metadata": metadata}
    return {name: fact for name, fact in metadata.items() if (name, fact) != (_ID, identity)}


def _no_such_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


# One for all: ``json.loads`` makes one for each value, which takes a third of the time.
_DECODER: Final = json.JSONDecoder(parse_constant=_no_such_number)
