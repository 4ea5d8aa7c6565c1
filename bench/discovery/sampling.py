"""What an etcd process does from one tenth of a second to the next."""

from __future__ import annotations

import http.client
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.discovery.processes import Usage
from seawall.testing.etcd import EtcdServer

SLOT = 0.1
"""Seconds."""
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look."""

    at: float
    cpu: float
    """Seconds that etcd has used so far."""
    connections: int
    """Established to etcd's port for clients."""
    accepted: int
    """Connections that anybody on this machine has accepted so far."""


class Sampler:
    """Looks at etcd from a thread of its own until it is stopped."""

    def __init__(self, etcd: EtcdServer) -> None:
        self.samples: list[Sample] = []
        self._pid, self._port = etcd.pid, etcd.client_port
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> list[Sample]:
        self._stopped.set()
        self._thread.join()
        return self.samples

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            try:
                cpu = Usage.of(self._pid).cpu
            except OSError:  # etcd has ended
                return
            count = connections(self._port)
            self.samples.append(Sample(time.monotonic(), cpu, count, accepted()))
            due += SLOT


def connections(port: int) -> int:
    """Established connections whose near end is this port."""
    wanted, found = f":{port:04X}", 0
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split(maxsplit=4)
            found += fields[1].endswith(wanted) and fields[3] == _ESTABLISHED
    return found


def accepted() -> int:
    """Connections that were accepted on this machine since it started."""
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("PassiveOpens")])


class Metric:
    """The sum of one of etcd's own counters, over the labels that are asked for."""

    def __init__(self, etcd: EtcdServer, name: str, **labels: str) -> None:
        self._port = etcd.metrics_port
        wanted = "".join(rf'(?=[^}}]*{label}="{value}")' for label, value in labels.items())
        self._line = re.compile(rf"^{name}(?:\{{{wanted}[^}}]*\}})? (\S+)$", re.MULTILINE)

    def read(self) -> float:
        """Raises ``OSError`` if etcd does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        return sum(float(value) for value in self._line.findall(text))
