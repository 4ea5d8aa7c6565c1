"""What an ``etcd://`` URL says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

from seawall.errors import ConfigError

DEFAULT_PORT: Final = 2379
DEFAULT_NAMESPACE: Final = "seawall"
DEFAULT_TTL: Final = 10
"""Seconds. What go-zero uses too; long enough to outlive an election or a restart of etcd."""
MAX_TTL: Final = 3600

KRATOS: Final = "kratos"
GOZERO: Final = "gozero"
_NAMESPACES: Final = {"": DEFAULT_NAMESPACE, KRATOS: "microservices", GOZERO: ""}
"""The default namespace by format. Those of kratos and go-zero are what these use by default."""

_OPTIONS: Final = ("ca", "cert", "format", "key", "ttl")
_SERVICE: Final = re.compile(r"\.?[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_SEGMENT: Final = re.compile(r"[^\s/\x00-\x1f\x7f\ud800-\udfff]+")
_SYNTAX: Final = "etcd://[user:password@]host[:2379][,host[:2379]...][/namespace][?ca=FILE&cert=FILE&key=FILE&ttl=10&format=kratos|gozero&package.Service=NAME]"


@dataclass(frozen=True, slots=True)
class EtcdUrl:
    """The parts of ``etcd://[user:password@]h1:p1,h2:p2/namespace?ca=..&cert=..&key=..&ttl=..``.

    ``format=kratos`` or ``format=gozero`` reads the entries of that framework. What it calls a
    service is said by ``package.Service=name``: an option with a dot in its name is the full name
    of a proto service. A service without a package has its dot in front, as in ``.Echo``.
    """

    endpoints: tuple[str, ...]
    """Each ``host:port`` or ``[v6]:port``."""
    namespace: str = DEFAULT_NAMESPACE
    """The first part of every key, without slashes at its ends; empty only with go-zero's."""
    user: str = ""
    password: str = ""
    ca: str | None = None
    """File with the certificates that sign etcd's own (PEM). Set = TLS."""
    cert: str | None = None
    """File with the certificate that we show to etcd (PEM); with ``key``. Set = TLS, mutual."""
    key: str | None = None
    """File with the private key of ``cert`` (PEM)."""
    ttl: int = DEFAULT_TTL
    """Seconds after which etcd drops what a dead process has announced."""
    format: str = ""
    """``kratos``, ``gozero``, or empty: our own, which is that of etcd's gRPC naming."""
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What the services are called there, by full proto name, where that isn't it."""

    @property
    def tls(self) -> bool:
        return self.ca is not None or self.cert is not None

    @property
    def hosts(self) -> str:
        return ",".join(self.endpoints)

    def __str__(self) -> str:
        """The URL as it may be logged: without the password and the file names."""
        user = f"{self.user}@" if self.user else ""
        options = f"?format={self.format}" if self.format else ""
        return f"etcd://{user}{self.hosts}/{self.namespace}{options}"

    @property
    def identity(self) -> str:
        """Names what is listed here: the same for every URL that shows the same lists."""
        hosts = ",".join(sorted(self.endpoints))
        names = "".join(f"&{service}={name}" for service, name in sorted(self.names.items()))
        options = f"?format={self.format}{names}" if self.format else ""
        return f"etcd://{hosts}/{self.namespace}{options}"


def parse(url: str) -> EtcdUrl:
    """Read an etcd URL. Raises ``ConfigError``, which names the part that is wrong."""
    # By hand: urlsplit refuses several bracketed hosts, some versions of it even two.
    scheme, separator, rest = url.partition("://")
    if scheme.lower() != "etcd" or not separator:
        raise ConfigError("registry", f"{_redacted(url)!r} is not an etcd URL: {_SYNTAX}")
    if "#" in url:
        raise ConfigError("registry", "a # in the URL must be written %23")
    location, _, query = rest.partition("?")
    authority, _, path = location.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    if credentials and not user:
        raise ConfigError("registry", f"the user before the @ is empty: {_SYNTAX}")
    options, names = _options(query)
    style = _format(options.get("format"), names)
    return EtcdUrl(
        endpoints=_endpoints(hosts),
        namespace=_namespace(path, _NAMESPACES[style]),
        user=unquote(user),
        password=unquote(password),
        ca=options.get("ca"),
        cert=options.get("cert"),
        key=options.get("key"),
        ttl=_ttl(options.get("ttl")),
        format=style,
        names=names,
    )


def _redacted(url: str) -> str:
    return re.sub(r"(//[^/@:]*):[^/]*@", r"\1:***@", url)


def _endpoints(hosts: str) -> tuple[str, ...]:
    endpoints = tuple(_endpoint(host) for host in hosts.split(","))
    for number, endpoint in enumerate(endpoints):
        if endpoint in endpoints[:number]:
            raise ConfigError("registry", f"etcd endpoint {endpoint} is named twice")
    return endpoints


def _endpoint(text: str) -> str:
    match = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/@]+)(?::(?P<port>[0-9]+))?", text)
    if match is None:
        problem = f"{text!r} is not an etcd endpoint" if text else "an etcd endpoint is empty"
        raise ConfigError("registry", f"{problem}: expected host, host:port or [IPv6]:port")
    port = int(match["port"] or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise ConfigError("registry", f"{text!r}: the port must be from 1 to 65535")
    return f"{match['host']}:{port}"


def _namespace(path: str, default: str) -> str:
    namespace = unquote(path).strip("/")
    if not namespace:
        return default
    if not _is_path(namespace):
        raise ConfigError(
            "registry",
            f"namespace {namespace!r} would break keys: no blanks, no empty parts",
        )
    return namespace


def _is_path(text: str) -> bool:
    return all(_SEGMENT.fullmatch(segment) for segment in text.split("/"))


def _options(query: str) -> tuple[dict[str, str], dict[str, str]]:
    """The options, and the names of services by proto name."""
    options: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        given, option = (names, name.removeprefix(".")) if "." in name else (options, name)
        _check_option(name, value)
        if option in given:
            raise ConfigError("registry", f"option {name!r} is given twice")
        given[option] = value
    if ("cert" in options) != ("key" in options):
        raise ConfigError("registry", "cert and key go together: give both files or none")
    return options, names


def _check_option(name: str, value: str) -> None:
    if "." in name:
        if not _SERVICE.fullmatch(name):
            raise ConfigError("registry", f"{name!r} is not the full name of a proto service")
    elif name not in _OPTIONS:
        raise ConfigError(
            "registry",
            f"etcd URLs have no option {name!r}: known are {', '.join(_OPTIONS)},"
            " and package.Service=NAME",
        )
    if not value:
        raise ConfigError("registry", f"option {name!r} has no value")
    if "." in name and not _is_path(value):
        raise ConfigError(
            "registry", f"{name}={value}: the name would break keys: no blanks, no empty parts"
        )


def _format(text: str | None, names: Mapping[str, str]) -> str:
    if text is None:
        for service, name in names.items():
            raise ConfigError(
                "registry",
                f"{service}={name} needs format={KRATOS} or format={GOZERO}:"
                " without it a service is found by its proto name alone",
            )
        return ""
    if text not in (KRATOS, GOZERO):
        raise ConfigError(
            "registry",
            f"format={text} is not known: write {KRATOS} or {GOZERO}, or leave it out for"
            " seawall's own, which is that of etcd's gRPC naming",
        )
    return text


def _ttl(text: str | None) -> int:
    if text is None:
        return DEFAULT_TTL
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_TTL:
        raise ConfigError("registry", f"ttl={text}: expected whole seconds from 1 to {MAX_TTL}")
    return int(text)
