"""What a run has to say: a table for people, JSON for tools. Imports no gRPC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from bench.figures import Figures, Series, Spread, verdict
from bench.imports import BASE as IMPORT_BASE
from bench.imports import SEAWALL
from bench.rows import BASE, BY_NAME, IMPORT_BUDGET, ROWS, Row, Side

IDLE_LIMIT = 1.0
"""Per cent of a core that a waiting process may use before the report warns of it."""
HEADER = ("row", "CPU us/call", "x base", "95 %", "quartiles", "wall us/call", "x base",
          "quartiles", "budget", "")  # fmt: skip
TITLES: dict[Side, str] = {
    "client": "Client: CPU of the client process",
    "server": "Server: CPU of the server process, driven by a bare grpc.aio client",
}


@dataclass(slots=True)
class Run:
    """Everything that was measured."""

    machine: dict[str, Any]
    method: dict[str, Any]
    series: dict[tuple[str, int], Series] = field(default_factory=dict)
    """By row and concurrency."""
    imports: dict[str, Series] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    """Echo servers that each client row's calls went to."""
    idle: dict[str, float] = field(default_factory=dict)
    """CPU that each row's process used while others had their turn: per cent of one core."""

    def figures(self, row: Row, concurrency: int) -> Figures | None:
        mine = self.series.get((row.name, concurrency))
        base = self.series.get((BASE[row.side], concurrency))
        return Figures.of(mine, base) if mine and base else None

    def rows(self, side: Side, concurrency: int) -> list[tuple[Row, Figures]]:
        found = [(row, self.figures(row, concurrency)) for row in ROWS if row.side == side]
        return [(row, figures) for row, figures in found if figures is not None]

    @property
    def concurrencies(self) -> list[int]:
        return sorted({lanes for _, lanes in self.series})

    @property
    def import_figures(self) -> Figures | None:
        if not self.imports:
            return None
        return Figures.of(self.imports[SEAWALL], self.imports[IMPORT_BASE])


def quartiles(spread: Spread) -> str:
    return f"{spread.q1:.2f} to {spread.q3:.2f}"


def cells(name: str, figures: Figures, budget: float | None, digits: int = 1) -> tuple[str, ...]:
    return (
        name,
        f"{figures.cpu.median:.{digits}f}", f"{figures.cpu_ratio.median:.3f}",
        f"{figures.cpu_ratio.low:.3f} to {figures.cpu_ratio.high:.3f}",
        quartiles(figures.cpu_ratio),
        f"{figures.wall.median:.{digits}f}", f"{figures.wall_ratio.median:.3f}",
        quartiles(figures.wall_ratio),
        f"{budget:.2f}" if budget else "", verdict(figures.cpu_ratio, budget),
    )  # fmt: skip


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it reads well as it is."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(header))]

    def draw(line: Sequence[str]) -> str:
        first, *rest = zip(line, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([draw(lines[0]), draw(rule), *(draw(line) for line in lines[1:])])


def facts(run: Run) -> list[str]:
    machine = run.machine
    packages = ", ".join(f"{name} {found or 'absent'}"
                         for name, found in machine["packages"].items())  # fmt: skip
    stolen = machine.get("stolen_seconds")
    return [
        f"{machine['cpu']}, {machine['cores']} cores; {machine['kernel']}; {machine['python']}",
        packages,
        f"load (1, 5, 15 min) before {machine['load_before']}, after {machine['load_after']}"
        + (f"; taken by the hypervisor's other guests: {stolen:.1f} s" if stolen else ""),
        f"{run.method['rounds']} rounds x {run.method['calls']} calls, in {run.method['fleets']} "
        f"starts, seed {run.method['seed']}, {run.method['seconds']:.0f} s",
    ]


def notes(run: Run) -> list[str]:
    lines = [f"left out: {why}" for why in run.skipped.values()]
    for name, count in run.reached.items():
        if count < (wanted := BY_NAME[name].endpoints):
            lines.append(f"{name}: its calls reached {count} of {wanted} endpoints in the warm-up")
    for row in ROWS:
        counts = [run.series[row.name, lanes].spans for lanes in run.concurrencies
                  if (row.name, lanes) in run.series]  # fmt: skip
        if row.sampling == 1.0 and any(min(spans) < 1 for spans in counts):
            lines.append(f"{row.name}: some of its calls left no span: it is not traced as it says")
    if run.machine["seawall_changed"]:
        lines.append("seawall's code changed during the run: not all starts measured the same")
    for name, share in run.idle.items():
        if share > IDLE_LIMIT:
            lines.append(f"{name}: used {share:.1f} % of a core while others had their turn")
    return lines


def as_text(run: Run) -> str:
    blocks = ["\n".join(facts(run))]
    for concurrency in run.concurrencies:
        for side, title in TITLES.items():
            if found := run.rows(side, concurrency):
                head = f"{title}; {concurrency} at a time; base: {BASE[side]}"
                body = [cells(row.name, figures, row.budget) for row, figures in found]
                blocks.append(f"{head}\n\n{table(HEADER, body)}")
    if figures := run.import_figures:
        header = [cell.replace("us/call", "ms") for cell in HEADER]
        head = f"Import of seawall; base: {IMPORT_BASE}"
        base = Figures.of(run.imports[IMPORT_BASE], run.imports[IMPORT_BASE])
        body = [
            cells(IMPORT_BASE, in_ms(base), None),
            cells(SEAWALL, in_ms(figures), IMPORT_BUDGET),
        ]
        blocks.append(f"{head}\n\n{table(header, body)}")
    if lines := notes(run):
        blocks.append("\n".join(f"note: {line}" for line in lines))
    return "\n\n".join(blocks)


def in_ms(figures: Figures) -> Figures:
    def scaled(spread: Spread) -> Spread:
        return Spread(*(value / 1e3 for value in astuple(spread)))

    return Figures(scaled(figures.cpu), figures.cpu_ratio, scaled(figures.wall), figures.wall_ratio)


def judged(figures: Figures, budget: float | None) -> dict[str, Any]:
    holds = None if budget is None else figures.cpu_ratio.median <= budget
    return {**figures.as_json(), "budget": budget, "holds": holds}


def as_json(run: Run) -> dict[str, Any]:
    """All figures in microseconds a call, with every round's own."""
    rows = [
        {
            "name": row.name, "side": side, "what": row.what, "concurrency": concurrency,
            "base": BASE[side], **judged(figures, row.budget),
            "endpoints_reached": run.reached.get(row.name),
            "idle_percent": run.idle.get(row.name),
            "rounds": asdict(run.series[row.name, concurrency]),
        }
        for concurrency in run.concurrencies
        for side in TITLES
        for row, figures in run.rows(side, concurrency)
    ]  # fmt: skip
    imported = run.import_figures
    return {
        "machine": run.machine,
        "method": run.method,
        "rows": rows,
        "import": judged(imported, IMPORT_BUDGET) if imported else None,
        "skipped": run.skipped,
    }
