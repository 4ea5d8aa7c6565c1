"""How entries are written under a service's prefix: our own format, kratos' and go-zero's.

Our own, which is that of etcd's gRPC naming, is in ``naming``. Those of the other frameworks are
for reading alone, so that a Python client can join their fleets.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from seawall.call import JSON, WEIGHT, Instance
from seawall.errors import RegistryError
from seawall.registry.etcd import naming
from seawall.registry.etcd.naming import Malformed
from seawall.registry.etcd.url import GOZERO, KRATOS, EtcdUrl

_ID: Final = "id"
_KRATOS_WEIGHT: Final = 100
"""The weight that an instance of kratos has if it says none (its package ``selector``); ours is 1,
and in one fleet some may say theirs and others not."""
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_TRUE: Final = frozenset(("1", "t", "T", "true", "True", "TRUE"))
"""What Go's ``strconv.ParseBool`` takes for true."""


@dataclass(frozen=True, slots=True)
class Format(ABC):
    """Where a service's entries are, and what each says."""

    namespace: str
    """What stands before the services' names, without slashes at its ends; may be empty."""
    names: Mapping[str, str]
    """What services are called there, by proto name, if not by that itself."""

    @abstractmethod
    def prefix(self, service: str) -> bytes:
        """The prefix of a service's keys; it ends with a slash, so that no other service's keys
        have it. Raises ``ConfigError`` for what is no proto name."""

    @abstractmethod
    def decode(self, prefix: bytes, key: bytes, value: bytes, service: str) -> Instance | None:
        """The instance at a key, whose id is what follows the prefix in the key.

        None if its owner has said goodbye, or it is another service's. Raises ``Malformed``,
        whose text says what is wrong with the entry, and nothing else whatever the bytes are.
        """

    def name_of(self, service: str) -> str:
        """What ``service`` is called here. Raises ``ConfigError`` for what is no proto name."""
        naming.check_service(service)
        return self.names.get(service, service)


class Native(Format):
    """etcd's own gRPC naming. Reads and writes."""

    __slots__ = ()

    def prefix(self, service: str) -> bytes:
        return naming.prefix_of(self.namespace, service)

    def decode(self, prefix: bytes, key: bytes, value: bytes, service: str) -> Instance | None:
        return naming.decode(prefix, key, value, service)


class Kratos(Format):
    """``/<namespace>/<name>/<id>`` -> JSON with id, name, version, metadata and endpoints.

    The facts are the entry's metadata and version, its ``id`` if that isn't the key's, and
    ``secure: true`` if it is to be dialled with TLS. A weight there is a text and 100 if unsaid; it
    becomes a number that is 1 if unsaid.
    """

    __slots__ = ()

    def prefix(self, service: str) -> bytes:
        return f"/{self.namespace}/{self.name_of(service)}/".encode()

    def decode(self, prefix: bytes, key: bytes, value: bytes, service: str) -> Instance | None:
        identity = naming.id_of(prefix, key)
        entry = naming.json_object(value)
        name = entry.get("name")
        if not isinstance(name, str):
            raise Malformed("name is missing or not a string")
        if name != self.name_of(service):
            return None  # a name may hold slashes, so its keys may begin like ours
        endpoint = _grpc_endpoint(entry.get("endpoints"))
        facts = _facts(entry.get("metadata"))
        if version := entry.get("version"):
            facts["version"] = version
        declared = entry.get(_ID)
        if declared and declared != identity:
            facts[_ID] = declared
        if endpoint.scheme == "grpcs" or _secure(endpoint):
            facts["secure"] = True
        return Instance(service, identity, endpoint.netloc, facts)


class GoZero(Format):
    """``<name>/<lease or id>`` -> ``ip:port``, with ``<namespace>/`` before it if there is one."""

    __slots__ = ()

    def prefix(self, service: str) -> bytes:
        name = self.name_of(service)
        return f"{self.namespace}/{name}/".encode() if self.namespace else f"{name}/".encode()

    def decode(self, prefix: bytes, key: bytes, value: bytes, service: str) -> Instance | None:
        identity = naming.id_of(prefix, key)
        try:
            address = value.decode()
        except UnicodeDecodeError:
            raise Malformed("not UTF-8, expected host:port") from None
        return Instance(service, identity, naming.dialable("the value", address))


_FORMATS: Final[Mapping[str, type[Format]]] = {"": Native, KRATOS: Kratos, GOZERO: GoZero}


def format_of(url: EtcdUrl) -> Format:
    """The format that a URL asks for."""
    return _FORMATS[url.format](url.namespace, url.names)


def check_writable(url: EtcdUrl) -> None:
    """Raise ``RegistryError`` if instances can't be announced in the URL's format."""
    if url.format:
        raise RegistryError(
            f"format={url.format} is for reading: {url} can't announce anything;"
            f" use a second URL without format to announce (etcd://{url.hosts})"
        )


def _grpc_endpoint(endpoints: JSON) -> SplitResult:
    """The endpoint to dial: the first for plain text, else the first for TLS."""
    if not isinstance(endpoints, list):
        raise Malformed("endpoints is missing or not a list")
    found: dict[str, SplitResult] = {}
    for endpoint in endpoints:
        if not isinstance(endpoint, str):
            raise Malformed("endpoints has something that is not a string")
        if endpoint.startswith(("grpc://", "grpcs://")):
            parts = _split(endpoint)
            found.setdefault(parts.scheme, parts)
    best = found.get("grpc") or found.get("grpcs")
    if best is None:
        raise Malformed("endpoints has no grpc://host:port and no grpcs://host:port")
    naming.dialable("the endpoint", best.netloc)
    return best


def _split(endpoint: str) -> SplitResult:
    try:
        return urlsplit(endpoint)
    except ValueError as error:
        shown = naming.shortened(repr(endpoint))
        raise Malformed(f"endpoint {shown}: {naming.shortened(str(error))}") from None


def _secure(endpoint: SplitResult) -> bool:
    """As older versions of kratos say it."""
    return parse_qs(endpoint.query).get("isSecure", [""])[0] in _TRUE


def _facts(metadata: JSON) -> dict[str, JSON]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise Malformed("metadata is not a JSON object")
    facts = dict(metadata)
    weight = facts.get(WEIGHT)
    if isinstance(weight, str) and _NUMBER.fullmatch(weight):
        facts[WEIGHT] = float(weight) / _KRATOS_WEIGHT
    return facts
