"""From a registry's URL to the registry."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from seawall.errors import ConfigError
from seawall.events import Listener, ignore
from seawall.registry.base import Registry

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Factory = Callable[[str, Listener], Registry]

ENTRY_POINTS: Final = "seawall.registries"
"""Entry point group of third-party registries: a scheme, and what is called with url, listener."""

BUILT_IN: Final[Mapping[str, tuple[str, str]]] = {
    "dns": ("seawall.registry.dns", "DnsRegistry"),
    "etcd": ("seawall.registry.etcd.registry", "EtcdRegistry"),
    "local": ("seawall.registry.local", "LocalRegistry"),
    "memory": ("seawall.registry.memory", "MemoryRegistry"),
    "static": ("seawall.registry.static", "StaticRegistry"),
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_PASSWORD = re.compile(r"(://[^:/@?]*:)[^/?]*@")


def open_registry(url: str, *, listener: Listener = ignore, snapshots: bool = True) -> Registry:
    """Return the registry that ``url`` names. Nothing is connected to yet.

    The scheme decides: ``dns``, ``etcd``, ``local``, ``memory``, ``static``, or one that an
    installed package offers under the entry point group ``seawall.registries``. ``listener`` is
    told what changes there. If the registry names what it lists (``identity``), its last good
    lists are kept on disk, unless ``snapshots`` is False or the variable SEAWALL_SNAPSHOTS is
    ``off``. Raises ``ConfigError`` for a URL, or a variable, that makes no sense.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise ConfigError("registry", _without_scheme(url))
    scheme = match[1].lower()
    factory = _built_in(scheme) or _third_party(scheme)
    if factory is None:
        raise ConfigError("registry", _unknown(url, scheme))
    registry = factory(url, listener)
    if registry.identity is None or not snapshots:
        return registry
    from seawall.registry.snapshots import remembering  # needed by what is imported late, too

    return remembering(registry)


def without_password(url: str) -> str:
    """``url`` as it may be shown in an error, a log or a span."""
    return _PASSWORD.sub(r"\1***@", url)


def _built_in(scheme: str) -> Factory | None:
    if scheme not in BUILT_IN:
        return None
    module, name = BUILT_IN[scheme]
    try:
        factory: Factory = getattr(importlib.import_module(module), name)
    except ImportError as error:
        problem = f"{scheme}:// can't be used on this machine ({error})"
        raise ConfigError("registry", problem) from error
    return factory


def _third_party(scheme: str) -> Factory | None:
    for found in _entry_points().select(name=scheme):
        try:
            factory: Factory = found.load()
        except Exception as error:
            problem = f"{scheme}:// is offered by {found.value}, which can't be loaded: {error}"
            raise ConfigError("registry", problem) from error
        return factory
    return None


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    return entry_points(group=ENTRY_POINTS)


def _known() -> list[str]:
    others = _entry_points().names
    return sorted({*BUILT_IN, *others})


def _unknown(url: str, scheme: str) -> str:
    known = _known()
    if scheme in ("http", "https"):
        hint = f"; is it etcd? Then write etcd://{url.partition('://')[2]}."
    else:
        import difflib  # only for those who mistype

        near = difflib.get_close_matches(scheme, known, n=1)
        hint = f"; did you mean {near[0]}://?" if near else "."
    listed = ", ".join(f"{name}://" for name in known)
    return without_password(f"{url!r} has an unknown scheme{hint} Known are {listed}")


def _without_scheme(url: str) -> str:
    if not url.strip():
        return "the URL is empty: set SEAWALL_REGISTRY to etcd://host:2379, or to local://"
    first = url.split(",")[0]
    if url.lower().rstrip(":/") in _known():
        hint = f"{url.lower().rstrip(':/')}://"
    elif _HOST_PORT.fullmatch(first.rpartition("@")[2].partition("/")[0]):
        hint = f"etcd://{url}" + ("" if "@" in url else f", or static://{url} for fixed addresses")
    elif url.startswith("/"):
        hint = f"local://{url}"
    else:
        hint = "etcd://host:2379, or local://"
    shown = re.sub(r"^([^:/@]*:)[^/]*@", r"\1***@", url)
    hint = without_password(hint)
    return f"{shown!r} has no scheme; did you mean {hint}?"
