"""Metrics that are on for one test."""

from tests.telemetry.measured import measured

__all__ = ["measured"]
