"""The command line: ``seawall run module:Class``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import seawall
from seawall.server.running import run_services
from seawall.server.service import Service


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the command ``seawall``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    classes = [_load(parser, target) for target in options.targets]
    given = {
        name: value
        for name, value in vars(options).items()
        if name not in ("command", "targets") and value is not None
    }
    run_services(classes, **given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seawall",
        description="Run gRPC services that keep answering when what they depend on does not.",
    )
    parser.add_argument("--version", action="version", version=f"seawall {seawall.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="serve one or more services in this process until SIGTERM",
        description="Serve services in this process, on one port, until SIGTERM or SIGINT; then "
        "leave the registry, finish what runs, and exit. A second signal exits at once.",
        epilog="Each option can be set by the environment as well (SEAWALL_REGISTRY, SEAWALL_PORT, "
        "...); the option wins.",
    )
    run.add_argument(
        "targets",
        nargs="+",
        metavar="module:Class",
        help="such as services.inventory:Inventory",
    )
    run.add_argument("--registry", metavar="URL", help="default: local:// (this machine)")
    run.add_argument("--host", help="interface to listen on")
    run.add_argument("--port", type=int, help="default: 0, a free one")
    run.add_argument("--advertise", metavar="HOST[:PORT]", help="what clients are told to dial")
    run.add_argument(
        "--no-unix-socket", dest="unix_socket", action="store_false", default=None,
        help="don't listen on a Unix socket for callers on this host",
    )  # fmt: skip
    run.add_argument("--grace", type=float, metavar="SECONDS", help="for calls under way at stop")
    run.add_argument("--zone", help="told to clients through the registry")
    run.add_argument("--version", dest="version", help="of the service, told likewise")
    run.add_argument(
        "--service-config", dest="service_config", metavar="PATH", help="gRPC service config, JSON"
    )
    return parser


def _load(parser: argparse.ArgumentParser, target: str) -> type[Service]:
    module_name, _, class_name = target.partition(":")
    if not module_name or not class_name:
        parser.error(f"{target!r} is not module:Class, for example services.inventory:Inventory")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there and misses another one: its own traceback says which
        parser.error(f"there is no module {module_name!r} here or on the Python path")
    found = getattr(module, class_name, None)
    if found is None:
        values = vars(module).items()
        names = [n for n, v in values if isinstance(v, type) and issubclass(v, Service)]
        parser.error(
            f"module {module_name!r} has no {class_name!r}; its services: "
            + (", ".join(n for n in names if n != "Service") or "none")
        )
    if not (isinstance(found, type) and issubclass(found, Service)):
        parser.error(f"{target} is not a subclass of seawall.Service")
    return found
