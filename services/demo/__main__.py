"""The shop under fire: two worlds of clients, one fleet, the same faults at the same moments.

Exits with 0 if seawall kept its promise (99.9 % of its calls answered, nobody charged twice),
with 1 if not, with 2 if the demo itself could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from seawall.errors import SeawallError
from seawall.testing.etcd import EtcdNotFound, EtcdServer
from services.demo.faults import FULL
from services.demo.fleet import DemoError
from services.demo.run import Options, run

SHORT = 28.0


def arguments() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m services.demo",
        description="Runs a small shop as separate processes, does to it what production does to"
        " services, and compares seawall's clients with plain gRPC stubs under the same load.",
        epilog="Exit status: 0 seawall kept its promise, 1 it did not, 2 the demo could not run.",
    )
    parser.add_argument(
        "--seconds", type=float, default=FULL, metavar="N",
        help="about how long the load runs; each fault has its share (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--short", action="store_const", dest="seconds", const=SHORT,
        help=f"the same as --seconds {SHORT:.0f}: for CI",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=float, default=120.0, metavar="N",
        help="calls a second of each of the two worlds (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument(
        "--registry", choices=("etcd", "local"), default="etcd",
        help="etcd: a real etcd process, which is killed as well (default); local: one machine's"
        " own registry, which has no process",
    )  # fmt: skip
    given = parser.parse_args()
    if not 10 <= given.seconds <= 600:
        parser.error("--seconds must be from 10 to 600")
    if not 10 <= given.rate <= 1000:
        parser.error("--rate must be from 10 to 1000")
    return Options(given.seconds, given.rate, given.json, given.registry)


@contextlib.contextmanager
def registry(kind: str, directory: Path) -> Iterator[tuple[str, EtcdServer | None]]:
    """The registry's URL, and its process if it has one."""
    if kind == "local":
        yield f"local://{directory / 'registry'}", None
        return
    with EtcdServer() as server:
        yield server.url, server


def main() -> int:
    options = arguments()
    # Whoever ends the demo, ends it as Ctrl-C does: with its clean-up. A shell that started it in
    # the background may have had SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with (
            tempfile.TemporaryDirectory(prefix="seawall-demo-") as name,
            registry(options.registry, Path(name)) as (url, server),
        ):
            return asyncio.run(run(options, url, server, Path(name)))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except EtcdNotFound as error:
        print(f"{error}\nOr run the demo without etcd: --registry local", file=sys.stderr)
        return 2
    except (DemoError, SeawallError) as error:
        print(f"the demo could not be run: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
