"""The facts of the machine and of the software that a figure means nothing without."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = (
    "seawall",
    "grpcio",
    "protobuf",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-grpc",
)


def sources() -> str:
    """A digest of seawall's own code: what was measured, and whether it changed meanwhile."""
    digest = sha256()
    found = find_spec("seawall")
    for root in found.submodule_search_locations or () if found else ():
        for path in sorted(Path(root).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def stolen() -> float | None:
    """Seconds that the hypervisor gave this machine's cores to others, since boot."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    return None


def load() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def facts() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": cores(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "seawall_sources": sources(),
        "packages": {name: installed(name) for name in PACKAGES},
        "load_before": load(),
    }
