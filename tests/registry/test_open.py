"""From a URL to a registry, and what is said about URLs that make no sense."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from seawall.errors import ConfigError
from seawall.events import Event
from seawall.registry import Registry, open_registry
from seawall.registry.local import LocalRegistry
from seawall.registry.memory import MemoryRegistry
from seawall.registry.static import StaticRegistry
from seawall.registry.urls import without_password


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryRegistry),
        ("MEMORY://orders", MemoryRegistry),
        ("local://", LocalRegistry),
        ("local:///run/shop", LocalRegistry),
        ("static://a:1", StaticRegistry),
    ],
)
def test_the_scheme_decides(url: str, kind: type[Registry]) -> None:
    events: list[Event] = []
    registry = open_registry(url, listener=events.append)
    assert type(registry) is kind
    assert registry.url == url
    assert registry.listener == events.append


def test_etcd_is_known() -> None:
    assert type(open_registry("etcd://127.0.0.1:2379")).__name__ == "EtcdRegistry"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", ["empty", "SEAWALL_REGISTRY", "etcd://host:2379", "local://"]),
        ("  ", ["empty"]),
        ("etdc://a:2379", ["'etdc://a:2379'", "did you mean etcd://?", "static://"]),
        (
            "zookeeper://a",
            ["unknown scheme. Known are dns://, etcd://, local://, memory://, static://"],
        ),
        ("http://a:2379", ["write etcd://a:2379."]),
        ("127.0.0.1:2379", ["no scheme", "etcd://127.0.0.1:2379", "static://127.0.0.1:2379"]),
        ("[::1]:2379,[::2]:2379", ["did you mean etcd://[::1]:2379,[::2]:2379"]),
        ("etcd", ["did you mean etcd://?"]),
        ("local:", ["did you mean local://?"]),
        ("/run/shop", ["did you mean local:///run/shop?"]),
        ("nonsense", ["no scheme", "etcd://host:2379, or local://"]),
        ("memory://a/b", ["a name and nothing else"]),
        ("local://run/shop", ["did you mean local:///run/shop?"]),
        ("local:///run/shop?ttl=3", ["no options"]),
    ],
)
def test_a_url_that_makes_no_sense(url: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry(url)
    for text in said:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["etdc://root:hunter2@a:2379/x", "https://root:hunter2@a:2379", "root:hunter2@a:2379"],
)
def test_a_password_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry(url)
    assert "hunter2" not in str(caught.value)
    assert "a:2379" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd://root:p@ss@a:1/x?ca=f", "etcd://root:***@a:1/x?ca=f"),
        ("etcd://a:1,b:2/x", "etcd://a:1,b:2/x"),
    ],
)
def test_without_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_registry_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "paper", "seawall.registry.memory:MemoryRegistry")
    assert isinstance(open_registry("paper://name"), MemoryRegistry)
    with pytest.raises(ConfigError, match="did you mean paper://"):
        open_registry("papre://name")


def test_a_registry_of_somebody_else_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "paper", "no_such_module:Registry")
    with pytest.raises(ConfigError, match="no_such_module:Registry, which can't be loaded"):
        open_registry("paper://name")


def test_a_built_in_scheme_cannot_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "memory", "no_such_module:Registry")
    assert isinstance(open_registry("memory://"), MemoryRegistry)


def test_importing_the_package_loads_no_registry() -> None:
    code = "import sys, seawall.registry; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30).split()
    ours = {name for name in loaded if name.startswith("seawall.registry.")}
    registries = ("etcd", "local", "memory", "static", "dns", "board")
    assert not {name for name in ours if name.split(".")[2] in registries}
    assert "ctypes" not in loaded


def offer(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Pretend that a package is installed which offers a registry."""
    group = "seawall.registries"
    point = metadata.EntryPoint(name=name, value=value, group=group)
    real: Callable[..., metadata.EntryPoints] = metadata.entry_points

    def pretend(**wanted: Any) -> metadata.EntryPoints:
        if wanted.get("group") != group:
            return real(**wanted)
        return metadata.EntryPoints([point]).select(**wanted)

    monkeypatch.setattr(metadata, "entry_points", pretend)


def test_the_default_directory_is_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from seawall.registry.local.directory import default

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default() == tmp_path / "seawall"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert default().name.startswith("seawall-")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default().name.startswith("seawall-")
