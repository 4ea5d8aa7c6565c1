"""Where a call's time goes: ``python -m bench.profile_call``, a work tool for the hot path.

Profiles the client's event loop over many calls of one row, against echo servers in a process of
their own. cProfile makes every Python call dearer and C calls hardly, so its shares mislead by
up to two times: find suspects here, and let ``bench.overhead`` judge what a change brought.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from bench import clients
from bench.fleet import ECHOES, Worker, WorkerError
from bench.overhead import positive
from bench.rows import BY_NAME, ROWS, Row
from bench.worker import LEAD, cpu, send, tracing

CLIENTS = tuple(row.name for row in ROWS if row.side == "client")


async def profile(row: Row, calls: int, concurrency: int) -> tuple[cProfile.Profile, float]:
    """The profile of ``calls`` calls, and the seconds of CPU that as many take without it."""
    flush = tracing(row.sampling)
    servers = await Worker.start("echo servers", ECHOES)
    profiler = cProfile.Profile()
    try:
        async with clients.KINDS[row.kind](servers.hello[row.over]) as stub:
            await send(stub, LEAD * concurrency, concurrency)
            flush()
            before = cpu()
            await send(stub, calls, concurrency)
            flush()
            used = cpu() - before
            profiler.enable()
            await send(stub, calls, concurrency)
            profiler.disable()
    finally:
        await servers.stop()
    return profiler, used


def listing(profiler: cProfile.Profile, sort: str, chosen: Sequence[str | int]) -> str:
    """The top functions, each file named from its package on."""
    text = StringIO()
    pstats.Stats(profiler, stream=text).sort_stats(sort).print_stats(*chosen)
    listed = text.getvalue()
    for root in sorted(filter(None, sys.path), key=len, reverse=True):
        listed = listed.replace(f"{root}/", "")
    return listed


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.profile_call", description=__doc__)
    add = parser.add_argument
    add("--row", choices=CLIENTS, default="seawall", help="whose calls (seawall)")
    add("--calls", type=positive, default=5000, help="how many (5000)")
    add("--concurrency", type=positive, default=1, help="calls under way at a time (1)")
    add("--sort", choices=("tottime", "cumtime", "ncalls"), default="tottime",
        help="by the function's own time, with its callees', or by calls (tottime)")  # fmt: skip
    add("--top", type=positive, default=30, help="functions to print (30)")
    add("--only", default=None, metavar="REGEX", help="print only what matches, such as seawall")
    add("--out", type=Path, metavar="FILE", help="keep the profile, for pstats or a viewer")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    row = BY_NAME[options.row]
    try:
        profiler, used = asyncio.run(profile(row, options.calls, options.concurrency))
    except WorkerError as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"{row.name} ({row.what}): {used / options.calls * 1e6:.1f} us of CPU a call unprofiled")
    if options.out:
        profiler.dump_stats(options.out)
    chosen = (options.only, options.top) if options.only else (options.top,)
    print(listing(profiler, options.sort, chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
