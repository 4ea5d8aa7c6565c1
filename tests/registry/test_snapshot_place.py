"""Where last good lists are kept, and which registries have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seawall.errors import ConfigError
from seawall.events import Event, SnapshotFailed
from seawall.registry import open_registry
from seawall.registry.etcd.registry import EtcdRegistry
from seawall.registry.snapshots import Remembering, place

URL = "etcd://127.0.0.1:2379/shop"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, with nothing set that leads away from it."""
    monkeypatch.delenv("SEAWALL_SNAPSHOTS")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_they_are_in_the_users_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.directory() == home / ".cache/seawall/snapshots"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert place.directory() == home / ".cache/seawall/snapshots"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    assert place.directory() == home / "cache/seawall/snapshots"


def test_the_variable_names_another_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAWALL_SNAPSHOTS", "/var/lib/shop")
    assert place.directory() == Path("/var/lib/shop")
    for off in ("off", " OFF "):
        monkeypatch.setenv("SEAWALL_SNAPSHOTS", off)
        assert place.directory() is None
    monkeypatch.setenv("SEAWALL_SNAPSHOTS", "")
    assert place.directory() == home / ".cache/seawall/snapshots"


@pytest.mark.parametrize(("setting", "hint"), [("~/lists", "{home}/lists"), ("x", "{here}/x")])
def test_a_place_must_be_absolute(
    home: Path, monkeypatch: pytest.MonkeyPatch, setting: str, hint: str
) -> None:
    monkeypatch.setenv("SEAWALL_SNAPSHOTS", setting)
    with pytest.raises(ConfigError) as caught:
        open_registry(URL)
    hint = hint.format(home=home, here=Path.cwd())
    assert str(caught.value).startswith(f"SEAWALL_SNAPSHOTS: '{setting}' is not absolute")
    assert f"did you mean {hint}, or off?" in str(caught.value)
    assert type(open_registry("memory://")).__name__ == "MemoryRegistry", "it keeps nothing"


def test_the_home_of_somebody_else_is_not_written_to(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    events: list[Event] = []
    registry = open_registry(URL, listener=events.append)
    assert type(registry) is EtcdRegistry
    (failed,) = events
    assert isinstance(failed, SnapshotFailed)
    assert f"{home} belongs to user {us}, and this process is user {us + 1}" in failed.problem
    assert "SEAWALL_SNAPSHOTS=off" in failed.problem


def test_a_user_without_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(place.NoPlace, match="no home directory"):
        place.directory()


def test_a_registry_that_names_what_it_lists_remembers(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    registry = open_registry(URL, listener=events.append)
    assert isinstance(registry, Remembering)
    inner = registry.inner
    assert isinstance(inner, EtcdRegistry)
    assert (registry.url, registry.ttl) == (inner.url, inner.ttl)
    assert registry.identity == inner.identity
    assert registry.listener == inner.listener == events.append
    assert registry.advertised_host() == inner.advertised_host() == "127.0.0.1"
    inner.problem = "does not answer"
    assert registry.problem == "does not answer"
    assert list(home.iterdir()) == [], "nothing is written before it is needed"
    monkeypatch.setenv("SEAWALL_SNAPSHOTS", "off")
    assert type(open_registry(URL)) is EtcdRegistry


@pytest.mark.parametrize("url", ["local://", "memory://", "static://a:1"])
def test_others_do_not(home: Path, url: str) -> None:
    assert not isinstance(open_registry(url), Remembering)


def test_one_without_a_name_cannot(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no identity"):
        Remembering(open_registry("memory://"), tmp_path)
