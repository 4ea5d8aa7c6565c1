"""The content of a snapshot: one header line, then JSON.

::

    seawall-snapshot 1 <SHA-256 of all that follows, in hex>
    {"registry": "etcd://a:2379/seawall", "service": "shop.v1.Inventory", "saved_at": 1700000000.0,
    "instances": [
    {"id": "inventory-7f3a", "address": "10.0.0.1:50051", "metadata": {"version": "1.4.0"}}
    ]}

Whatever is not exactly so is refused as a whole: a file with a right checksum and wrong content
was not written by us, so nothing in it is to be believed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from seawall.call import Instance
from seawall.registry.addresses import address_problem

VERSION: Final = 1
MAX_SIZE: Final = 64 * 1024 * 1024
"""Bytes. An instance takes about 150, so this is far above any list that is meant."""

NAME: Final = re.compile(r"[A-Za-z0-9_.]{0,100}-[0-9a-f]{32}\.snapshot")
"""What a snapshot's file is called: its service, and a digest of whose list it is."""

_HEADER: Final = re.compile(rb"seawall-snapshot (\d{1,9}) ([0-9a-f]{64})\n")
_SERVICE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")
_REMOVE: Final = "remove it; it is written anew when the registry answers"

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Malformed(Exception):
    """The content can't be used; the text says why, and what mends it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last good list of one service."""

    saved_at: float
    """When the registry was last known to agree, in seconds since 1970."""
    instances: tuple[Instance, ...]
    """At least one."""


def file_name(identity: str, service: str) -> str:
    """The name of the file in which a registry's list of ``service`` is.

    Nothing of the registry is in it but a digest, and nothing of the service that is not harmless.
    Another version of the format has files of its own: it may be in use beside this one.
    """
    whose = f"{VERSION}\0{identity}\0{service}"
    digest = hashlib.sha256(whose.encode(errors="surrogatepass"))
    shown = service if _SERVICE.fullmatch(service) else ""
    return f"{shown}-{digest.hexdigest()[:32]}.snapshot"


def encode(
    identity: str, service: str, instances: Iterable[Instance], saved_at: float
) -> bytes | None:
    """The content for a list; None if there is nothing in it that could be read again.

    An instance that could not be is left out: the others must not suffer from it. Each is encoded
    by itself, so that a thread which does this leaves the event loop its turns.
    """
    lines = [line for one in instances if (line := _line(one, service)) is not None]
    if not lines:
        return None
    facts = _encode({"registry": identity, "service": service, "saved_at": float(saved_at)})
    text = facts[:-1] + ',\n"instances":[\n' + ",\n".join(lines) + "\n]}\n"
    body = text.encode(errors="backslashreplace")
    return b"seawall-snapshot %d %s\n" % (VERSION, _checksum(body)) + body


def decode(data: bytes, identity: str, service: str) -> Snapshot:
    """Read a snapshot of this registry and service. Raises ``Malformed`` for anything else."""
    header = _HEADER.match(data)
    if header is None:
        raise Malformed(f"it is not a snapshot, or cut short: {_REMOVE}")
    if int(header[1]) != VERSION:
        raise Malformed(
            f"its format is {int(header[1])} and this version of seawall reads {VERSION}: {_REMOVE}"
        )
    body = data[header.end() :]
    if _checksum(body) != header[2]:
        raise Malformed(f"its checksum does not fit: it is damaged or cut short; {_REMOVE}")
    content = _json(body)
    found = content.get("registry"), content.get("service")
    if found != (identity, service):
        raise Malformed(f"it is about {found[1]!r} of {found[0]!r}: {_REMOVE}")
    saved_at = content.get("saved_at")
    if not isinstance(saved_at, float) or not math.isfinite(saved_at):
        raise Malformed(f"it does not say when it was saved: {_REMOVE}")
    return Snapshot(saved_at, _instances(content.get("instances"), service))


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _line(one: Instance, service: str) -> str | None:
    if one.service != service or not one.id or address_problem(one.address):
        return None
    try:
        line = _encode({"id": one.id, "address": one.address, "metadata": dict(one.metadata)})
        line.encode()
    except (TypeError, ValueError, RecursionError):
        return None
    return line


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body.decode(), parse_constant=_no_number)
        if b"\\u" in body:
            # Half of a surrogate pair passes for text until somebody sends it on.
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is not JSON ({error}): {_REMOVE}") from None
    if not isinstance(content, dict):
        raise Malformed(f"it is not a JSON object: {_REMOVE}")
    return content


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _instances(listed: Any, service: str) -> tuple[Instance, ...]:
    if not isinstance(listed, list) or not listed:
        raise Malformed(f"it has no list of instances: {_REMOVE}")
    by_id: dict[str, Instance] = {}
    for position, item in enumerate(listed):
        one = _instance(item, service)
        if one is None or one.id in by_id:
            raise Malformed(f"its instances[{position}] can't be one: {_REMOVE}")
        by_id[one.id] = one
    return tuple(by_id.values())


def _instance(item: Any, service: str) -> Instance | None:
    if not isinstance(item, dict):
        return None
    id_, address, metadata = item.get("id"), item.get("address"), item.get("metadata")
    if not (isinstance(id_, str) and id_ and isinstance(address, str)):
        return None
    if not isinstance(metadata, dict) or address_problem(address):
        return None
    return Instance(service, id_, address, metadata)
