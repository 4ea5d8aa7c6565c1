"""What the tests of all registries share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a ``local://`` registry of its own may be made; it isn't there yet."""
    return tmp_path / "registry"


@pytest.fixture
def local_url(directory: Path) -> str:
    """A ``local://`` registry that no other test sees."""
    return f"local://{directory}"


@pytest.fixture
def little_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe in 0.5 s that a vanished key of etcd's has gone, in place of 3 s."""
    monkeypatch.setattr("seawall.registry.etcd.feed.DOUBT", 0.5)
