"""What is done to the shop while its customers go on, and what has to hold each time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from tests.compose.engine import Broken, say, wait_for
from tests.compose.instruments import Load, Prometheus, expressions
from tests.compose.stack import ETCD, SHOP, Stack

COPIES: Final = 2
"""Of each service, in docker-compose.yml."""
MAY_BE_EMPTY: Final = 0.3
"""Share of the dashboard's queries that may find nothing: there is no hedge without a config for
it, and nothing is turned away by who has no overload."""


class Stage:
    """The shop, its customers and its instruments."""

    def __init__(self, stack: Stack, load: Load, prometheus: Prometheus) -> None:
        self.stack = stack
        self.load = load
        self.prometheus = prometheus

    def kill(self, *services: str) -> list[str]:
        """``docker kill`` of one container of each; they stay dead. Returns their ids."""
        killed = [self.stack.one_of(service) for service in services]
        self.stack.docker("kill", *killed)
        return killed

    def start(self, containers: list[str], *services: str) -> None:
        self.stack.docker("start", *containers)
        for service in services:
            count = 1 if service in ETCD else COPIES
            self.stack.wait_healthy(service, count)

    def wait_called(self, container: str, service: str) -> None:
        """Return when the callers of ``service`` call the one in ``container``."""
        address = self.stack.address(container)
        wait_for(
            f"{service} at {address} is called",
            60,
            lambda: self.prometheus.value(
                "sum(rate(grpc_server_call_started_total"
                f'{{grpc_method=~"shop.*", instance="{address}:9464"}}[20s]))'
            ),
        )


def calm(stage: Stage) -> None:
    """Nothing is done; Prometheus finds every instance."""
    stage.load.during("nothing", lambda: None, 5)
    expected = COPIES * len(SHOP) + 1 + len(ETCD)
    wait_for(
        f"{expected} targets are up", 60, lambda: stage.prometheus.value("sum(up)") == expected
    )
    say(f"    Prometheus: all {expected} targets are up")


def etcd_killed(stage: Stage) -> None:
    """A node of three."""
    dead: list[str] = []
    stage.load.during("docker kill: etcd2", lambda: dead.extend(stage.kill("etcd2")))
    stage.load.during("etcd2 is back", lambda: stage.start(dead, "etcd2"), 4)


def killed_until_alert(stage: Stage) -> None:
    """One instance of two: an alert fires, and resolves when it is back."""
    dead: list[str] = []

    def fires() -> bool:
        return stage.prometheus.firing("SeawallNoSpare", service="payments")

    stage.load.during("docker kill: payments", lambda: dead.extend(stage.kill("payments")))
    wait_for("SeawallNoSpare fires for payments", 90, fires)
    say("    SeawallNoSpare fires for payments")
    stage.load.during("payments is back", lambda: stage.start(dead, "payments"), 4)
    wait_for("SeawallNoSpare resolves", 60, lambda: not fires())
    say("    SeawallNoSpare has resolved")


def half_killed(stage: Stage) -> None:
    """One of each service, at one moment."""
    dead: list[str] = []
    stage.load.during("docker kill: one of each service", lambda: dead.extend(stage.kill(*SHOP)))
    stage.load.during("all are back", lambda: stage.start(dead, *SHOP), 4)


def crashed(stage: Stage) -> None:
    """Its process is killed as by the kernel when memory is short; Docker restarts it."""
    container = stage.stack.one_of("orders")
    crashes: list[bool] = []
    stage.load.during("kill -9: orders", lambda: crashes.append(stage.stack.crash(container)))
    if not crashes[0]:
        say("    left out: the engine's processes are not on this machine, or not ours to kill")
        return
    stage.stack.wait_healthy("orders", COPIES)
    stage.wait_called(container, "orders")
    say("    Docker has restarted it, and it is called")


def cut_off(stage: Stage) -> None:
    """The network of an instance and of an etcd node is gone, without a word to anybody."""
    stack = stage.stack
    pair = {"inventory": stack.one_of("inventory"), "etcd3": stack.one_of("etcd3")}

    def cut() -> None:
        for container in pair.values():
            stack.cut(container)

    def mend() -> None:
        for service, container in pair.items():
            stack.mend(container, service)

    inventory = pair["inventory"]
    before = stack.address(inventory)
    stage.load.during("network cut: inventory, etcd3", cut, 15)
    stage.load.during("network back", mend, 4)
    stack.wait_healthy("etcd3", 1)
    stage.wait_called(inventory, "inventory")
    say(f"    inventory is called again (it was {before}, and is {stack.address(inventory)})")


def frozen(stage: Stage) -> None:
    """The processes stand still; their connections stay up."""
    containers = [stage.stack.one_of(service) for service in ("inventory", "storefront")]
    stage.load.during(
        "docker pause: inventory, storefront", lambda: stage.stack.docker("pause", *containers)
    )
    stage.load.during("thawed", lambda: stage.stack.docker("unpause", *containers), 4)


def scaled(stage: Stage) -> None:
    """Instances come and go on purpose."""
    for service, count in (("inventory", 4), ("orders", 3), ("inventory", 1), ("orders", 2)):
        change = partial(scale, stage, service, count)
        stage.load.during(f"scale: {count} of {service}", change, 4)
    scale(stage, "inventory", COPIES)


def scale(stage: Stage, service: str, count: int) -> None:
    stack = stage.stack
    stack.compose(
        "up", "-d", "--no-deps", "--no-recreate", "--scale", f"{service}={count}", service
    )
    stack.wait_healthy(service, count)
    for container in stack.all_of(service):
        stage.wait_called(container["Id"], service)


def dashboard(stage: Stage) -> None:
    """Prometheus understands every query of the dashboard, and has something for most."""
    asked = expressions()
    empty = [panel for panel, query in asked if not stage.prometheus.ever(query)]
    say(f"dashboard: {len(asked)} queries; nothing yet for {', '.join(empty) or 'none'}")
    if len(empty) > MAY_BE_EMPTY * len(asked):
        raise Broken(f"{len(empty)} of the dashboard's {len(asked)} queries find nothing")


SCENES: Final[dict[str, Callable[[Stage], None]]] = {
    "calm": calm,
    "etcd": etcd_killed,
    "alert": killed_until_alert,
    "half": half_killed,
    "crash": crashed,
    "cut": cut_off,
    "frozen": frozen,
    "scale": scaled,
    "dashboard": dashboard,
}
