"""The content of a registration's file: JSON, one object, all instances of one process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Final

from seawall.call import Instance
from seawall.errors import ConfigError
from seawall.registry.addresses import address_problem

MAX_SIZE: Final = 4 * 1024 * 1024
"""Bytes; a larger file is refused, so that reading one can't hold up the event loop."""


class Malformed(Exception):
    """The content can't be read; the text says why."""


def encode(instances: Sequence[Instance]) -> bytes:
    """Raises ``ConfigError`` if an instance's metadata can't be written as JSON."""
    listed = [
        {"service": i.service, "id": i.id, "address": i.address, "metadata": dict(i.metadata)}
        for i in instances
    ]
    try:
        text = json.dumps(
            {"pid": os.getpid(), "instances": listed}, ensure_ascii=False, allow_nan=False
        )
        data = text.encode()
    except (TypeError, ValueError) as error:
        raise ConfigError("metadata", f"can't be written as JSON ({error})") from error
    if len(data) > MAX_SIZE:
        problem = f"what is registered takes {len(data)} bytes; the limit is {MAX_SIZE}"
        raise ConfigError("metadata", problem)
    return data


def decode(data: bytes) -> tuple[tuple[Instance, ...], str | None]:
    """The readable instances, and what is wrong with the others (None = nothing).

    Raises ``Malformed`` if nothing in it can be read.
    """
    if len(data) > MAX_SIZE:
        raise Malformed(f"is larger than {MAX_SIZE} bytes")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not JSON: {error}") from error
    listed = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise Malformed("has no list of instances")
    instances: list[Instance] = []
    problem = None
    for position, item in enumerate(listed):
        instance = _instance(item)
        if instance is None:
            problem = problem or f"instances[{position}] lacks service, id or a usable address"
        else:
            instances.append(instance)
    return tuple(instances), problem


def _instance(item: Any) -> Instance | None:
    if not isinstance(item, dict):
        return None
    texts = [item.get(name) for name in ("service", "id", "address")]
    metadata = item.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(t, str) and t for t in texts):
        return None
    service, id_, address = map(str, texts)
    if address_problem(address):
        return None
    return Instance(service, id_, address, metadata)
