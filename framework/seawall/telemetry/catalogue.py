"""Every metric there is: its name, unit, labels and buckets.

``grpc.*`` from gRFC A66 and, for retries and hedges, A96; ``process.*`` from OpenTelemetry's
semantic conventions, or as Prometheus calls it; what nobody knows is ``seawall.*``.
"""

from __future__ import annotations

from typing import Final

from seawall.telemetry import names
from seawall.telemetry.store import Instrument

METHOD: Final = "grpc.method"
TARGET: Final = "grpc.target"
STATUS: Final = "grpc.status"
SERVICE: Final = "seawall.service"
STATE: Final = "seawall.state"
CLASS: Final = "seawall.class"
REASON: Final = "seawall.reason"
KIND: Final = "seawall.kind"
EVENT: Final = "seawall.event"
REGISTRY: Final = "seawall.registry"

SECONDS: Final = (
    .0003, .0006, .001, .002, .003, .005, .008, .013, .02, .03, .05, .08, .13, .2, .3, .5, .8,
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0,
)  # fmt: skip
"""Every second one of A66's 41 bounds: each series of a histogram is a line for each of them, and
a step of a factor 1.6 says as much. No call of a Python process takes less than the first."""
_REPEATS: Final = (1.0, 2.0, 3.0, 4.0, 5.0)
"""Recommended by A96."""

_CLIENT: Final = (METHOD, TARGET)

SERVER_STARTED: Final = Instrument(
    "grpc.server.call.started", "counter", "{call}", "Calls that were begun", (METHOD,)
)
SERVER_DURATION: Final = Instrument(
    "grpc.server.call.duration", "histogram", "s",
    "From the begin of the handler to its end", (METHOD, STATUS), SECONDS,
)  # fmt: skip
IN_FLIGHT: Final = Instrument(
    "seawall.server.in_flight", "gauge", "{call}", "Calls whose handlers have begun and not ended"
)
QUEUE_WAIT: Final = Instrument(
    "seawall.server.queue_wait", "histogram", "s",
    "How long calls that were admitted had waited for it", (CLASS,), SECONDS,
)  # fmt: skip
QUEUE_LENGTH: Final = Instrument(
    "seawall.server.queue_length", "gauge", "{call}", "Calls that wait to be admitted"
)
RATE_LIMIT: Final = Instrument(
    "seawall.server.rate_limit", "gauge", "{call}/s",
    "Calls a second that are taken on while the server sheds; not there while all are",
)  # fmt: skip
REJECTIONS: Final = Instrument(
    "seawall.server.rejections", "counter", "{call}", "Calls that were not admitted",
    (CLASS, REASON),
)  # fmt: skip
LOOP_LAG: Final = Instrument(
    "seawall.server.loop_lag", "gauge", "s",
    "How late the event loop was at most, in the last 10 to 20 s", merge=max,
)  # fmt: skip
LOOP_BLOCKED: Final = Instrument(
    "seawall.server.loop_blocked", "counter", "s",
    "How long the event loop did not turn, in all", merge=max,
)  # fmt: skip
SERVING: Final = Instrument(
    "seawall.server.serving", "gauge", "1",
    "1 where the health protocol says SERVING; the empty name is the whole server", (SERVICE,),
    merge=min,
)  # fmt: skip
ANNOUNCED: Final = Instrument(
    "seawall.server.announced", "gauge", "1", "1 from the registration to the goodbye",
    merge=min,
)  # fmt: skip
REPAIRS: Final = Instrument(
    "seawall.server.repairs", "counter", "{repair}", "What was put right without anybody's help",
    (KIND,),
)  # fmt: skip

ATTEMPT_STARTED: Final = Instrument(
    "grpc.client.attempt.started", "counter", "{attempt}", "Attempts that were begun", _CLIENT
)
ATTEMPT_DURATION: Final = Instrument(
    "grpc.client.attempt.duration", "histogram", "s",
    "From the begin of one attempt to its end", (*_CLIENT, STATUS), SECONDS,
)  # fmt: skip
CALL_DURATION: Final = Instrument(
    "grpc.client.call.duration", "histogram", "s",
    "What the caller saw, with all attempts, waits and fallbacks", (*_CLIENT, STATUS), SECONDS,
)  # fmt: skip
CALL_RETRIES: Final = Instrument(
    "grpc.client.call.retries", "histogram", "{retry}",
    "Attempts after the first, of calls that had any", _CLIENT, _REPEATS,
)  # fmt: skip
CALL_TRANSPARENT_RETRIES: Final = Instrument(
    "grpc.client.call.transparent_retries", "histogram", "{transparent_retry}",
    "Attempts after one that nobody can have run, of calls that had any", _CLIENT, _REPEATS,
)  # fmt: skip
CALL_HEDGES: Final = Instrument(
    "grpc.client.call.hedges", "histogram", "{hedge}",
    "Attempts beside or after the first, of hedged calls that had any", _CLIENT, _REPEATS,
)  # fmt: skip
FALLBACKS: Final = Instrument(
    names.FALLBACKS, "counter", "{answer}", "Answers given in place of a server's",
    (METHOD, names.FALLBACK),
)  # fmt: skip
REFUSALS: Final = Instrument(
    "seawall.client.refusals", "counter", "{call}",
    "Calls that ended as the framework refused them by itself", (METHOD, REASON),
)  # fmt: skip
ENDPOINTS: Final = Instrument(
    "seawall.client.endpoints", "gauge", "{endpoint}", "Instances in use, by how they are",
    (SERVICE, STATE),
)  # fmt: skip
INSTANCES: Final = Instrument(
    "seawall.client.instances", "gauge", "{instance}", "Instances that the registry lists",
    (SERVICE,),
)  # fmt: skip
OUTSTANDING: Final = Instrument(
    "seawall.client.outstanding", "gauge", "{attempt}", "Attempts under way", (SERVICE,)
)
RETRY_BUDGET: Final = Instrument(
    "seawall.client.retry_budget", "gauge", "{retry}", "Retries that it would allow now",
    (SERVICE,),
)  # fmt: skip

REGISTRY_AVAILABLE: Final = Instrument(
    "seawall.registry.available", "gauge", "1", "0 while the registry can't be reached",
    (REGISTRY,), merge=min,
)  # fmt: skip
REGISTRY_LEASE: Final = Instrument(
    "seawall.registry.lease", "gauge", "1",
    "1 while the registry holds what this process announces", (REGISTRY,),
    merge=min,
)  # fmt: skip
EVENTS: Final = Instrument(
    "seawall.events", "counter", "{event}", "What the listener is told, by name", (EVENT,)
)

CPU_TIME: Final = Instrument("process.cpu.time", "counter", "s", "CPU that the process has used")
MEMORY: Final = Instrument("process.memory.usage", "gauge", "By", "Resident memory")
OPEN_FILES: Final = Instrument(
    "process.open_fds", "gauge", "{file_descriptor}", "Open file descriptors"
)
UPTIME: Final = Instrument("process.uptime", "gauge", "s", "Since the process was started")

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Instrument))
