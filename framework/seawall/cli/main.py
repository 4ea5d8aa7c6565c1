"""The command line: ``seawall run module:Class``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

import seawall
from seawall.errors import ConfigError
from seawall.server.event_loop.factory import LOOPS
from seawall.server.running import exit_with, run_services
from seawall.server.targets import load
from seawall.server.workers.plan import run_workers, workers_wanted

_OF_THE_COMMAND = ("command", "targets", "workers", "loop", "hang_timeout")
"""Options that are no settings of a service."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the command ``seawall``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    given = {
        name: value
        for name, value in vars(options).items()
        if name not in _OF_THE_COMMAND and value is not None
    }
    try:
        count = workers_wanted(options.workers)
        # With workers they load the services, not this process: so they can load others later.
        classes = [load(target) for target in options.targets] if count is None else []
    except ConfigError as error:
        parser.error(str(error))
    if count is None:
        run_services(classes, loop=options.loop, **given)
    exit_with(lambda: _supervise(options, count, given))


def _supervise(options: argparse.Namespace, count: int, given: dict[str, Any]) -> int:
    return run_workers(
        options.targets, count, given, loop=options.loop, hang_timeout=options.hang_timeout
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seawall",
        description="Run gRPC services that keep answering when what they depend on does not.",
    )
    parser.add_argument("--version", action="version", version=f"seawall {seawall.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="serve one or more services until SIGTERM",
        description="Serve services on one port until SIGTERM or SIGINT; then leave the registry, "
        "finish what runs, and exit. A second signal exits at once. With --workers, in several "
        "processes with a port each; SIGHUP replaces them one by one.",
        epilog="Each option can be set by the environment as well (SEAWALL_REGISTRY, SEAWALL_PORT, "
        "...); the option wins.",
    )
    _add_options(run)
    return parser


def _add_options(run: argparse.ArgumentParser) -> None:
    add = run.add_argument
    add("targets", nargs="+", metavar="module:Class", help="such as services.inventory:Inventory")
    add("--registry", metavar="URL", help="default: local:// (this machine)")
    add("--host", help="interface to listen on")
    add("--port", type=int, help="default: 0, a free one; workers count up from it")
    add("--advertise", metavar="HOST[:PORT]", help="what clients are told to dial")
    add(
        "--no-unix-socket", dest="unix_socket", action="store_false", default=None,
        help="don't listen on a Unix socket for callers on this host",
    )  # fmt: skip
    add("--grace", type=float, metavar="SECONDS", help="for calls under way at stop")
    add("--zone", help="told to clients through the registry")
    add("--version", dest="version", help="of the service, told likewise")
    add("--service-config", dest="service_config", metavar="PATH", help="gRPC service config, JSON")
    add(
        "--workers", metavar="N",
        help="serve in N processes, watched and restarted; auto: one for each core",
    )  # fmt: skip
    add(
        "--hang-timeout", dest="hang_timeout", type=float, metavar="SECONDS",
        help="a worker that gives no sign of life for so long is restarted (10)",
    )  # fmt: skip
    add("--loop", choices=LOOPS, help="event loop; default: uvloop if it is installed")
