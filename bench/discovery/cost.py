"""What updates and connections cost a client, by the number of instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.discovery.processes import Crew
from bench.discovery.results import Part, kib, mib, ms, us
from bench.discovery.sizes import Size

Progress = Callable[[str], None]
BATCH = 50
"""Events in one answer, where there are several."""
FLAT = 3.0
"""An update among the most instances may take so many times what it takes among the fewest:
larger maps are outside of the caches."""


async def updates(size: Size, progress: Progress) -> Part:
    """Updates of one instance among many, in the client alone."""
    part = Part("cost", "an update in the client, by the number of instances (no etcd, no sockets)")
    columns: list[dict[str, float]] = []
    async with Crew() as crew:
        for count in size.counts:
            progress(f"cost: updates among {count} instances")
            # Each in a process of its own: nobody inherits another one's heap.
            counter = await crew.start("counter", "counter")
            arguments: dict[str, Any] = {"count": count, "updates": size.updates}
            column: dict[str, float] = {}
            for connected, words in ((False, ""), (True, ", all connected")):
                found = await counter.do("group", connected=connected, **arguments)
                column |= {f"group: {kind}{words}": cost for kind, cost in found.items()}
            one = await counter.do("wire", batch=1, **arguments)
            several = await counter.do("wire", batch=BATCH, **arguments)
            column["wire to watch(): first listing"] = one["first listing"]
            column["wire to watch(): an answer with one event"] = one["answer"]
            each = several["answer"] / BATCH
            column[f"wire to watch(): an event of {BATCH} in one answer"] = each
            columns.append(column)
    names = list(columns[0])
    # What grows with the number is a listing's by its nature, and ends the table.
    names.sort(key=lambda name: "listing" in name)
    rows = [
        (name, *(us(column[name]) for column in columns),
         f"{columns[-1][name] / columns[0][name]:.1f}")
        for name in names
    ]  # fmt: skip
    header = ("us, the median", *(f"{count:,}" for count in size.counts), "last / first")
    part.tabulate(header, rows)
    single = [n for n in names if "listing" not in n]
    steep = [n for n in single if columns[-1][n] > FLAT * columns[0][n]]
    part.say(
        "statistics of all endpoints that stayed were kept (asserted after each series). "
        + (f"Not flat: {'; '.join(steep)}" if steep else "All updates of one instance are flat")
    )
    part.figures = {str(n): column for n, column in zip(size.counts, columns, strict=True)}
    return part


async def connections(size: Size, progress: Progress) -> Part:
    """A client's first listing of a service whose instances it then connects to."""
    part = Part("connect", "a client meets a service: from nothing to all instances connected")
    rows = []
    async with Crew() as crew:
        server = await crew.start("server", "dialler", serve=True)
        for count in size.connections:
            progress(f"connect: {count} instances")
            client = await crew.start("client", "dialler", serve=False)
            found = await client.do("connect", port=server.hello["port"], count=count)
            part.figures[str(count)] = found
            rows.append((
                f"{count:,}", ms(found["answered"]), f"{found['connected']:.2f}",
                f"{found['cpu']:.2f}", ms(found["cpu"] / count), mib(found["memory"]),
                kib(found["memory"] / count), f"{found['idle_cpu'] * 100:.0f}",
            ))  # fmt: skip
    part.tabulate(
        ("instances", "first answer ms", "all connected s", "CPU s", "CPU ms each", "memory MiB",
         "KiB each", "then idle, % of a core"),
        rows,
    )  # fmt: skip
    part.say("all instances are one server process, which shares the cores with the client")
    return part
