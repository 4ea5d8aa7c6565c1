"""``python -m tests.compose``: the shop of docker-compose.yml on a real Docker engine, under fire.

Exit status: 0 if everything held, or if there is no engine and ``--required`` was not given; 1 if
something did not hold; 130 if it was interrupted. What it started is gone in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Final

from tests.compose import bases
from tests.compose.engine import ROOT, Broken, Engine, NoEngine, engine, say, wait_for
from tests.compose.instruments import Load, Prometheus, check_rules
from tests.compose.scenes import COPIES, SCENES, Stage
from tests.compose.stack import ETCD, SHOP, Stack

LOGS: Final = ROOT / "build" / "compose-test.log"
_LEDGER: Final = """
from services import store
times = store.charges(store.directory() / store.CHARGES).values()
print(len(times), sum(count > 1 for count in times))
"""
_PROBE: Final = """
import importlib.util, opentelemetry.exporter.otlp.proto.grpc.trace_exporter
raise SystemExit(importlib.util.find_spec("pip") is not None)
"""


def main() -> int:
    options = _arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with engine(own=options.own_engine) as found:
            test(found, options)
    except NoEngine as error:
        say(f"skipped: no Docker engine: {error}")
        return int(options.required)
    except Broken as error:
        say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    say("passed: no idempotent call failed")
    return 0


def test(found: Engine, options: argparse.Namespace) -> None:
    """Raises ``Broken`` for the first thing that does not hold."""
    variables = _images(found, options)
    stack = Stack(found, {**variables, "SHOP_RATE": f"{options.rate:g}"})
    with _torn_down(stack):
        check_rules(stack, {**bases.from_registries(), **variables}["PROMETHEUS_IMAGE"])
        say("docker compose build")
        stack.compose("build", "storefront", seconds=900)
        check_image(stack)
        try:
            load = _brought_up(stack, options.rate)
            stage = Stage(stack, load, Prometheus(stack))
            for name in options.scenes or SCENES:
                SCENES[name](stage)
            check_count(stack, load)
        except Broken:
            LOGS.write_text(stack.last_words(lines=1000), encoding="utf-8")
            say(f"what the containers wrote is in {LOGS}")
            raise
        check_stop(stack)


def _brought_up(stack: Stack, rate: float) -> Load:
    """The load, when everybody is healthy and it runs."""
    say("docker compose up")
    stack.compose("up", "-d", seconds=300)
    for service in (*ETCD, *SHOP):
        stack.wait_healthy(service, 1 if service in ETCD else COPIES)
    load = Load(stack, rate)
    wait_for("the load counts", 60, lambda: _counts(load))
    say("all are healthy, and the load runs")
    return load


def _images(found: Engine, options: argparse.Namespace) -> dict[str, str]:
    """Variables for docker-compose.yml, by what can be had here."""
    if options.base == "registry" or (options.base == "auto" and bases.reachable(found)):
        return {}
    say("base images: made of Debian packages; Grafana and Jaeger are left out")
    return {
        **bases.from_debian(found, options.mirror),
        "COMPOSE_PROFILES": "none",
        "OTEL_TRACES_EXPORTER": "none",
    }


@contextlib.contextmanager
def _torn_down(stack: Stack) -> Iterator[None]:
    stack.down()  # what an earlier run, killed, has left
    try:
        yield
    finally:
        say("docker compose down")
        stack.down()


def _counts(load: Load) -> bool:
    with contextlib.suppress(Broken, IndexError):
        return load.count().calls > 0
    return False


def check_image(stack: Stack) -> None:
    """Not root, no pip inside, but what sends traces; and it runs read-only."""
    image = stack.image
    user = stack.docker("image", "inspect", "--format", "{{.Config.User}}", image).stdout.strip()
    if user != "10001:10001":
        raise Broken(f"the image runs as {user or 'root'}")
    for command in (["python", "-c", _PROBE], ["seawall", "--version"]):
        stack.docker(
            "run", "--rm", "--read-only", "--network", "none", "--entrypoint", command[0],
            image, *command[1:],
        )  # fmt: skip
    say("the image: not root, no pip, runs read-only")


def check_count(stack: Stack, load: Load) -> None:
    """The load ends itself on SIGTERM and has the last word."""
    stack.compose("stop", "load")
    count = load.count()
    say(f"in all: {count.calls} calls, of them {count.idempotent_calls} idempotent; "
        f"failed: {count.failed or 'none'}; fallbacks: {count.fallbacks}")  # fmt: skip
    stopped = stack.all_of("load")[0]
    if not count.ended or stopped["State"]["ExitCode"] or stopped["RestartCount"]:
        raise Broken("the load did not end by itself, or was restarted: its count is not whole")
    if count.idempotent_failed:
        busy = f"the machine's load was {os.getloadavg()[1]:.1f}, on {os.cpu_count()} cores"
        told = "\n".join(f"  {line}" for line in load.failures())
        raise Broken(f"{count.idempotent_failed} idempotent calls failed ({busy}):\n{told}")
    check_ledger(stack)


def check_ledger(stack: Stack) -> None:
    """Nobody was charged twice."""
    charged = stack.docker("exec", stack.one_of("payments"), "python", "-c", _LEDGER).stdout
    once, twice = map(int, charged.split())
    if not once or twice:
        raise Broken(f"the ledger has {once} orders, and {twice} were charged twice")
    say(f"the ledger: {once} orders, each charged once")


def check_stop(stack: Stack) -> None:
    """Everybody leaves on SIGTERM, within the grace."""
    stack.compose("stop", *SHOP, seconds=180)
    for service in SHOP:
        codes = [container["State"]["ExitCode"] for container in stack.all_of(service)]
        if any(codes):
            raise Broken(f"{service} did not stop in good order: exit codes {codes}")
    say("SIGTERM: all services stopped in good order, exit status 0")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.compose",
        description="Builds and runs docker-compose.yml on a real engine, breaks things, and counts"
        " the calls that fail. Takes about 5 minutes and removes what it made.",
    )
    known = f"all by default: {', '.join(SCENES)}"
    parser.add_argument("scenes", nargs="*", metavar="scene", help=known)
    parser.add_argument(
        "--base", choices=("auto", "registry", "debian"), default="auto",
        help="where base images come from; auto: registries, if they can be reached",
    )  # fmt: skip
    parser.add_argument("--mirror", default=bases.MIRROR, help="of Debian; default: %(default)s")
    parser.add_argument("--rate", type=float, default=20, help="calls a second; default: 20")
    parser.add_argument(
        "--own-engine", action="store_true",
        help="start a dockerd where none runs, for this test (needs root and dockerd)",
    )  # fmt: skip
    parser.add_argument("--required", action="store_true", help="fail where there is no engine")
    options = parser.parse_args()
    if unknown := set(options.scenes) - SCENES.keys():
        parser.error(f"no such scene: {', '.join(sorted(unknown))}; see --help")
    if not 1 <= options.rate <= 200:
        parser.error("--rate must be from 1 to 200")
    return options


if __name__ == "__main__":
    sys.exit(main())
