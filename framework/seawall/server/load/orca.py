"""Load reports for gRPC's own balancers in any language: ORCA (gRFC A51)."""

from __future__ import annotations

from typing import Final

from seawall.call import LoadReport
from seawall.server.load.orca_pb2 import OrcaLoadReport

KEY: Final = "endpoint-load-metrics-bin"
IN_FLIGHT: Final = "seawall.in_flight"
"""A named metric: requests that the server works on, or that wait there."""
LATENCY: Final = "seawall.latency"
"""A named metric: the median seconds of its recent answers."""


def orca_entry(load: LoadReport) -> tuple[str, bytes]:
    """The entry of trailing metadata that tells ``load``."""
    message = OrcaLoadReport(
        cpu_utilization=load.utilization, rps_fractional=load.rate, eps=load.errors
    )
    message.named_metrics[IN_FLIGHT] = load.in_flight or 0
    message.named_metrics[LATENCY] = load.latency or 0.0
    return KEY, message.SerializeToString()
