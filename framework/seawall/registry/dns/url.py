"""What a ``dns://`` URL says."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from seawall.errors import ConfigError

MIN_TTL: Final = 5.0
"""Seconds. Kubernetes' CoreDNS answers with a TTL of 5 s, so news is never older than that."""
MAX_TTL: Final = 60.0
"""Seconds. A TTL of an hour, which zones for people have, would hide news for that hour."""
SRV_PREFIX: Final = "_grpc._tcp."
PORT: Final = 53

_SERVICE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NAME: Final = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_SRV: Final = re.compile(r"_[A-Za-z0-9-]+\._[A-Za-z]+\..+")
_OPTIONS: Final = ("resolver", "min_ttl", "max_ttl")
_SHORTEST, _LONGEST = 0.01, 86400.0


@dataclass(frozen=True, slots=True)
class Place:
    """A name in the DNS, and what it is asked for."""

    name: str
    """In lower case; of a literal address, without brackets."""
    port: int | None
    """Of its addresses; None = its SRV records say who and where."""


@dataclass(frozen=True, slots=True)
class DnsUrl:
    """The parts of ``dns://name:port,name?shop.v1.Inventory=name:port&resolver=10.0.0.2:53``."""

    anywhere: tuple[Place, ...]
    """Where every service is that ``services`` doesn't name."""
    services: Mapping[str, tuple[Place, ...]]
    resolvers: tuple[tuple[str, int], ...] = ()
    """Addresses and ports of the servers to ask; empty = those of the system."""
    min_ttl: float = MIN_TTL
    """Seconds between two look-ups of a name, at least."""
    max_ttl: float = MAX_TTL
    """Seconds after which a name is looked up again, whatever the answer's TTL."""

    @property
    def identity(self) -> str:
        """What is listed, without how often it is looked up."""
        parts = [f"{name}={_listed(places)}" for name, places in sorted(self.services.items())]
        if self.resolvers:
            parts.append("resolver=" + ",".join(join(*each) for each in sorted(self.resolvers)))
        return f"dns://{_listed(self.anywhere)}" + (f"?{'&'.join(parts)}" if parts else "")

    @property
    def all_places(self) -> tuple[Place, ...]:
        """Every place that it names, once."""
        groups = (self.anywhere, *self.services.values())
        return tuple(dict.fromkeys(place for group in groups for place in group))

    def places(self, service: str) -> tuple[Place, ...]:
        """Where ``service`` is looked for; empty = nobody serves it."""
        return self.services.get(service, self.anywhere)


def parse(url: str) -> DnsUrl:
    """Read a ``dns://`` URL. Raises ``ConfigError``, which names the part that is wrong."""
    names, question, query = url.partition("://")[2].partition("?")
    anywhere = _places(url, names) if names else ()
    services: dict[str, tuple[Place, ...]] = {}
    options: dict[str, str] = {}
    for part in query.split("&") if question else ():
        key, equals, value = part.partition("=")
        if not equals or not _SERVICE.fullmatch(key):
            raise _error(url, f"{part!r} is not package.Service=name:port, nor an option")
        if key in services or key in options:
            raise _error(url, f"{key!r} is there twice")
        if key in _OPTIONS:
            options[key] = value
        else:
            services[key] = _places(url, value)
    if not anywhere and not services:
        raise _error(url, "names nothing to look up; write dns://name:port, or dns://name for SRV")
    least, most = _seconds(url, options, "min_ttl"), _seconds(url, options, "max_ttl")
    least = min(MIN_TTL, most or MIN_TTL) if least is None else least
    most = max(MAX_TTL, least) if most is None else most
    if least > most:
        raise _error(url, f"min_ttl={least:g} is more than max_ttl={most:g}")
    return DnsUrl(anywhere, services, _resolvers(url, options.get("resolver")), least, most)


def _places(url: str, text: str) -> tuple[Place, ...]:
    places: list[Place] = []
    for part in text.split(","):
        place = _place(url, part)
        if place in places:
            raise _error(url, f"{part!r} is there twice")
        places.append(place)
    return tuple(places)


def _place(url: str, text: str) -> Place:
    if "/" in text:
        host = text.rpartition("/")[2]
        raise _error(url, f"{text!r} has a slash: write dns://{host}, and ?resolver=ip:port if any")
    literal = _literal(text)
    if literal is not None:
        return Place(literal[0], _port(url, text, literal[1]))
    name, colon, port = text.partition(":")
    if not _NAME.fullmatch(name):
        raise _error(
            url,
            f"{text!r} is not name:port or name: a name has letters, digits, - and _ in parts of "
            "up to 63, any other letter is written in its xn-- form, IPv6 goes in brackets",
        )
    name = name.lower()
    if not colon:
        name = name if _SRV.fullmatch(name) else SRV_PREFIX + name
        return Place(name, None)
    if _SRV.fullmatch(name):
        raise _error(url, f"{text!r}: the SRV records of {name} have ports of their own")
    return Place(name, _port(url, text, port))


def _literal(text: str) -> tuple[str, str] | None:
    """Address and port, if ``text`` has an address and not a name; the port may be missing."""
    host, colon, port = text, "", ""
    if "]" in text:
        host, colon, port = text.partition("]")
        host, port = host.removeprefix("["), port.removeprefix(":")
    elif text.count(":") == 1:
        host, colon, port = text.partition(":")
    try:
        return str(ipaddress.ip_address(host)), port if colon else ""
    except ValueError:
        return None


def _port(url: str, text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _error(url, f"{text!r} needs a port from 1 to 65535, and has {port!r}")
    return int(port)


def _resolvers(url: str, text: str | None) -> tuple[tuple[str, int], ...]:
    found = []
    for part in text.split(",") if text is not None else ():
        literal = _literal(part)
        if literal is None:
            raise _error(url, f"resolver={part!r} is not ip, ip:port or [v6]:port")
        found.append((literal[0], _port(url, part, literal[1] or str(PORT))))
    return tuple(found)


def _seconds(url: str, options: Mapping[str, str], key: str) -> float | None:
    text = options.get(key)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or not (_SHORTEST <= float(text) <= _LONGEST):
        raise _error(url, f"{key}={text!r} is not seconds from {_SHORTEST:g} to {_LONGEST:g}")
    return float(text)


def _listed(places: tuple[Place, ...]) -> str:
    parts = (p.name if p.port is None else join(p.name, p.port) for p in places)
    return ",".join(sorted(parts))


def join(host: str, port: int) -> str:
    """``host:port``, with brackets round an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _error(url: str, problem: str) -> ConfigError:
    return ConfigError("registry", f"{url!r}: {problem}")
