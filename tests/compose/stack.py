"""The containers of docker-compose.yml, and what can be done to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.compose.engine import Broken, Engine, run, wait_for

PROJECT: Final = "seawall-compose-test"
"""Not the user's own: his may be up at the same time."""
ETCD: Final = ("etcd1", "etcd2", "etcd3")
SHOP: Final = ("inventory", "payments", "recommendations", "orders", "storefront")
NETWORK: Final = f"{PROJECT}_default"


class Stack:
    """The shop, on an engine."""

    def __init__(self, engine: Engine, variables: Mapping[str, str]) -> None:
        self.engine = engine
        self.docker = engine.docker
        self.image = PROJECT
        """Of the shop."""
        self._env = {
            **engine.env,
            **variables,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "SHOP_IMAGE": self.image,
            "PROMETHEUS_PORT": "0",
        }

    def compose(
        self, *arguments: str, seconds: float = 120, shown: bool = False
    ) -> subprocess.CompletedProcess[str]:
        command = [*self.engine.compose, *arguments]
        return run(command, env=self._env, seconds=seconds, shown=shown)

    def all_of(self, service: str) -> list[dict[str, Any]]:
        """Its containers, running or not, as ``docker inspect`` tells; by number."""
        ids = self.docker(
            "ps", "--all", "--quiet", "--no-trunc",
            "--filter", f"label=com.docker.compose.project={PROJECT}",
            "--filter", f"label=com.docker.compose.service={service}",
        ).stdout.split()  # fmt: skip
        if not ids:
            return []
        asked = self.docker("inspect", *ids, check=False)
        found: list[dict[str, Any]] = json.loads(asked.stdout or "[]")
        number = "com.docker.compose.container-number"
        return sorted(found, key=lambda container: int(container["Config"]["Labels"][number]))

    def one_of(self, service: str) -> str:
        """The id of a container of it that runs."""
        for container in self.all_of(service):
            if container["State"]["Running"]:
                return str(container["Id"])
        raise Broken(f"no container of {service} runs")

    def healthy(self, service: str) -> int:
        """How many of its containers run and are healthy."""
        states = [container["State"] for container in self.all_of(service)]
        return sum(
            bool(state["Running"]) and state.get("Health", {}).get("Status") == "healthy"
            for state in states
        )

    def wait_healthy(self, service: str, count: int, seconds: float = 90) -> None:
        """Return when ``count`` containers of it are healthy, and it has no others."""

        def settled() -> bool:
            return len(self.all_of(service)) == count == self.healthy(service)

        try:
            wait_for(f"{count} of {service} healthy", seconds, settled)
        except Broken as error:
            raise Broken(f"{error}\n{self.last_words(service)}") from None

    def last_words(self, *services: str, lines: int = 25) -> str:
        return self.compose("logs", "--no-color", "--tail", str(lines), *services).stdout

    def address(self, container: str) -> str:
        """On the network of the shop; empty while it is cut off."""
        inspected = json.loads(self.docker("inspect", container).stdout)[0]
        networks: dict[str, Any] = inspected["NetworkSettings"]["Networks"]
        return str(networks.get(NETWORK, {}).get("IPAddress", ""))

    def cut(self, container: str) -> None:
        """Take its network away: what is sent to it, or by it, vanishes without a word."""
        self.docker("network", "disconnect", "--force", NETWORK, container)

    def mend(self, container: str, service: str) -> None:
        self.docker("network", "connect", "--alias", service, NETWORK, container)

    def crash(self, container: str) -> bool:
        """Kill its process behind Docker's back. False if the engine's processes aren't ours."""
        state = json.loads(self.docker("inspect", container).stdout)[0]["State"]
        try:
            # In a virtual machine, or on another host, this number is somebody else's.
            if container not in Path(f"/proc/{state['Pid']}/cgroup").read_text(encoding="ascii"):
                return False
            os.kill(state["Pid"], signal.SIGKILL)
        except OSError:
            return False
        return True

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
