"""Metrics of a test's own, and what they hold."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.telemetry.store import Distribution, Instrument, Metrics


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    """Whatever is made from now on is measured here."""
    made = Metrics()
    monkeypatch.setattr("seawall.telemetry.metrics._metrics", made)
    return made


def series(metrics: Metrics, instrument: Instrument) -> dict[tuple[str, ...], Any]:
    """What there is of an instrument, by its labels: numbers, and of histograms how many values."""
    for family in metrics.collect():
        if family.instrument is instrument:
            return {
                labels: sum(value.counts) if isinstance(value, Distribution) else value
                for labels, value in family.series.items()
            }
    return {}
