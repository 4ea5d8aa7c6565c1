"""What is known of the shop from outside: the load's own count, Prometheus, the dashboard."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.compose.engine import ROOT, Broken, say, wait_for
from tests.compose.stack import Stack

DEPLOY: Final = ROOT / "deploy"
DASHBOARD: Final = DEPLOY / "grafana" / "dashboards" / "seawall.json"
RULES: Final = "/etc/prometheus/seawall"
"""Where deploy/prometheus is in the container of Prometheus."""


@dataclass(frozen=True)
class Count:
    """What the load has counted so far."""

    calls: int
    idempotent_calls: int
    idempotent_failed: int
    failed: dict[str, int]
    fallbacks: int
    p99_ms: float
    ended: bool = False

    def since(self, before: Count) -> str:
        """What came in between, in words."""
        lost = {kind: n - before.failed.get(kind, 0) for kind, n in self.failed.items()}
        failed = ", ".join(f"{n} {kind}" for kind, n in lost.items() if n) or "none"
        return (
            f"{self.calls - before.calls} calls, failed: {failed}; "
            f"{self.fallbacks - before.fallbacks} fallbacks; p99 now {self.p99_ms:g} ms"
        )


class Load:
    """The load generator, by what it writes."""

    def __init__(self, stack: Stack, rate: float) -> None:
        self._stack = stack
        self._rate = rate

    def _lines(self, tail: str) -> Iterator[dict[str, Any]]:
        container = self._stack.all_of("load")[0]["Id"]
        for line in self._stack.docker("logs", "--tail", tail, container).stdout.splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict):
                yield said

    def count(self) -> Count:
        """The latest. Raises ``Broken`` if it has not counted yet."""
        for said in reversed(list(self._lines("50"))):
            if "calls" in said:
                return Count(**said)
        raise Broken("the load has not counted a call yet")

    def failures(self) -> list[str]:
        """Every call that failed, with its story."""
        return [
            f"{said['kind']} {said['code']}: {said['story']}"
            for said in self._lines("all")
            if "code" in said and "kind" in said
        ]

    def goes_on(self, seconds: float) -> Count:
        """Return when it has made ``seconds`` worth of further calls."""
        wanted = self.count().calls + seconds * self._rate
        return wait_for(
            f"the load makes {seconds * self._rate:.0f} further calls",
            seconds * 2 + 20,
            lambda: now if (now := self.count()).calls >= wanted else None,
        )

    def during(self, what: str, done: Callable[[], object], seconds: float = 8) -> None:
        """Do something, let the load go on, and say what became of its calls."""
        before = self.count()
        say(f"{what} ...")
        done()
        say(f"    {self.goes_on(seconds).since(before)}")


class Prometheus:
    """The one of the stack, by its published port."""

    def __init__(self, stack: Stack) -> None:
        port = stack.docker("port", stack.one_of("prometheus"), "9090").stdout.split()[0]
        self._url = f"http://{port}/api/v1"

    def _get(self, path: str, **query: str) -> Any:
        url = f"{self._url}/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Broken(f"Prometheus: {json.load(error).get('error')}: {query}") from None
        except OSError as error:
            raise Broken(f"Prometheus does not answer: {error}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples. Raises ``Broken`` for what is no query."""
        return list(self._get("query", query=expression)["result"])

    def value(self, expression: str) -> float:
        """Of the first sample; 0 if there is none."""
        samples = self.query(expression)
        return float(samples[0]["value"][1]) if samples else 0.0

    def ever(self, expression: str) -> bool:
        """Whether it has found something in the last 10 minutes. Raises as ``query``."""
        return bool(self.query(f"last_over_time(({expression})[10m:5s])"))

    def firing(self, alert: str, **labels: str) -> bool:
        wanted = {"alertname": alert, **labels}
        return any(
            found["state"] == "firing" and wanted.items() <= found["labels"].items()
            for found in self._get("alerts")["alerts"]
        )


def expressions() -> list[tuple[str, str]]:
    """The queries of the dashboard as Grafana would send them: panel and query."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [
        (
            str(panel["title"]),
            target["expr"].replace("$__rate_interval", "1m").replace("$service", ".*"),
        )
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def check_rules(stack: Stack, image: str) -> None:
    """The configuration and the alerts, by ``promtool`` of the image of Prometheus."""
    mounted = f"{DEPLOY / 'prometheus'}:{RULES}:ro"
    for task in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")):
        stack.docker(
            "run", "--rm", "--network", "none", "--volume", mounted, "--workdir", RULES,
            "--entrypoint", "promtool", image, *task, seconds=120,
        )  # fmt: skip
        say(f"promtool {' '.join(task)}: passed")
