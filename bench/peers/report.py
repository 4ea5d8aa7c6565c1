"""What a run has to say: tables for people, JSON for tools. Imports no gRPC."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.peers.figures import WELL, Figures, Turn, figures, recovery, timeline
from bench.peers.rows import row_of
from bench.peers.scenarios import Scenario
from bench.report import table

BEGIN: Final = "<!-- peers: begin, made by make bench -->"
END: Final = "<!-- peers: end -->"
HEADER: Final = ("client", "good %", "good % in the fault", "p50 ms", "p99 ms", "p99.9 ms",
                 "extra calls %", "CPU us/call")  # fmt: skip
NOISY: Final = 0.003
"""Seconds; a turn is noisy if an idle process was woken later than this (p99) meanwhile."""
MARK: Final = " ~"
"""At figures of noisy turns."""
LAGGING: Final = 0.02
"""Seconds; a client whose calls started later than this (p99) was held up, by itself or others."""


@dataclass(slots=True)
class Run:
    """Everything that was measured."""

    machine: dict[str, Any]
    method: dict[str, Any]
    scenarios: tuple[Scenario, ...]
    clients: tuple[str, ...]
    turns: dict[tuple[str, str], list[Turn]] = field(default_factory=dict)
    """By scenario and client."""
    skipped: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def pace(self, scenario: Scenario) -> float:
        seconds = self.method["seconds"]
        return 1.0 if seconds is None else float(seconds) / scenario.seconds

    def fault(self, scenario: Scenario) -> tuple[float, float] | None:
        """When something was wrong, in seconds as played."""
        if scenario.fault is None:
            return None
        pace = self.pace(scenario)
        return scenario.fault[0] * pace, scenario.fault[1] * pace

    def figures(self, scenario: Scenario) -> dict[str, Figures]:
        """By client, in the order of the rows."""
        found = {name: self.turns.get((scenario.name, name)) for name in self.clients}
        fault = self.fault(scenario)
        return {name: figures(turns, fault) for name, turns in found.items() if turns}

    def timelines(self, scenario: Scenario) -> dict[str, list[dict[str, Any]]]:
        seconds = scenario.seconds * self.pace(scenario)
        return {
            name: timeline(turns, seconds)
            for name in self.clients
            if (turns := self.turns.get((scenario.name, name)))
        }

    @property
    def played(self) -> list[Scenario]:
        return [scenario for scenario in self.scenarios if self.figures(scenario)]


def per_cent(value: float) -> str:
    """Two decimals, and never rounded up to a hundred: one failure in a million is one."""
    if math.isnan(value):
        return ""
    return f"{min(value, 99.99) if value < 100.0 else value:.2f}"


def mark(found: Figures) -> str:
    return MARK if found.late > NOISY else ""


def cells(name: str, found: Figures, *, faulty: bool) -> tuple[str, ...]:
    cost = f"{found.cpu:.0f}"
    if found.sidecar:
        cost += f" ({found.sidecar:.0f} of it Envoy)"
    during = per_cent(found.success_in_fault) if faulty else ""
    return (
        name + mark(found), per_cent(found.success), during,
        f"{found.p50 * 1e3:.1f}", f"{found.p99 * 1e3:.0f}", f"{found.p999 * 1e3:.0f}",
        f"{found.extra:.1f}", cost,
    )  # fmt: skip


def summary(run: Run) -> str:
    """Success and p99 of every client at every scenario."""
    rows = []
    for scenario in run.played:
        found = run.figures(scenario)
        texts = [
            f"{per_cent(found[name].success)} / {found[name].p99 * 1e3:.0f}{mark(found[name])}"
            if name in found
            else ""
            for name in run.clients
        ]
        rows.append((scenario.name, *texts))
    return table(("good % / p99 ms", *run.clients), rows)


def details(run: Run, scenario: Scenario) -> str:
    found, faulty = run.figures(scenario), scenario.fault is not None
    rows = [cells(name, one, faulty=faulty) for name, one in found.items()]
    return table(HEADER, rows)


def errors(run: Run, scenario: Scenario) -> str:
    """What the calls that failed ended with."""
    words = []
    for name, one in run.figures(scenario).items():
        failed = {code: count for code, count in one.codes.items() if code != "OK"}
        if failed:
            ranked = Counter(failed).most_common()
            words.append(f"{name} " + ", ".join(f"{count} {code}" for code, count in ranked))
    return "; ".join(words)


def recoveries(run: Run, scenario: Scenario) -> str:
    """When each client was well again after the fault, for those that it had hurt."""
    fault = run.fault(scenario)
    if fault is None or fault[1] >= scenario.seconds * run.pace(scenario):
        return ""
    hurt = [name for name, one in run.figures(scenario).items() if one.success < WELL]
    words = []
    for name in hurt:
        after = recovery(run.timelines(scenario)[name], fault[1])
        words.append(f"{name} " + ("not at all" if after is None else f"after {after:.1f} s"))
    return ", ".join(words)


def facts(run: Run) -> list[str]:
    machine, method = run.machine, run.method
    packages = ", ".join(f"{name} {found}" for name, found in machine["packages"].items() if found)
    return [
        f"{machine['cpu']}, {machine['cores']} cores; {machine['kernel']}; {machine['python']}",
        packages,
        f"seawall's sources {machine['seawall_sources']}"
        + (", changed during the run" if machine["seawall_changed"] else ""),
        f"{machine['date']}; load (1, 5, 15 min) before {machine['load_before']}, after "
        f"{machine['load_after']}",
        f"{method['rounds']} round(s), seed {method['seed']}, {method['took']:.0f} s",
    ]


def notes(run: Run) -> list[str]:
    """What to know before believing the figures."""
    lines = [f"left out: {why}" for why in run.skipped]
    everything = [turn for turns in run.turns.values() for turn in turns]
    if everything:
        shares = sorted(turn.stolen + turn.others for turn in everything)
        lines.append(
            f"other processes used {shares[len(shares) // 2]:.0f} % of the machine in the median "
            f"turn, and {shares[-1]:.0f} % in the worst"
        )
    noisy = [
        f"{turn.client} at {turn.scenario} ({turn.late * 1e3:.0f} ms)"
        for turn in everything
        if turn.late > NOISY
    ]
    if noisy:
        lines.append(
            f"marked with{MARK}: the machine was busy with other things, and woke an idle process "
            f"more than {NOISY * 1e3:.0f} ms late (p99): " + ", ".join(noisy)
        )
    lagging = [
        f"{name} at {scenario.name} ({one.lag * 1e3:.0f} ms)"
        for scenario in run.played
        for name, one in run.figures(scenario).items()
        if one.lag > LAGGING and not mark(one)
    ]
    if lagging:
        lines.append(
            "calls started late (p99) although the machine was punctual: " + ", ".join(lagging)
        )
    return lines


def as_text(run: Run) -> str:
    blocks = ["\n".join(facts(run)), summary(run)]
    for scenario in run.played:
        block = f"{scenario.name}: {scenario.what}\n\n{details(run, scenario)}"
        if failed := errors(run, scenario):
            block += f"\nfailed: {failed}"
        if well := recoveries(run, scenario):
            block += f"\nback at {WELL:.0f} % after the fault's end: {well}"
        blocks.append(block)
    if lines := notes(run):
        blocks.append("\n".join(f"note: {line}" for line in lines))
    return "\n\n".join(blocks)


def as_markdown(run: Run, images: str) -> str:
    """The part of the page that is a run's; ``images`` is where the pictures are from there."""
    blocks = [
        "Made by `" + run.method["command"] + "`:",
        "\n".join(f"- {fact}" for fact in facts(run)),
        summary(run),
    ]
    for scenario in run.played:
        blocks += [
            f"### {scenario.name}",
            scenario.what[0].upper() + scenario.what[1:] + f". {scenario.rate:.0f} calls/s.",
            details(run, scenario),
        ]
        if failed := errors(run, scenario):
            blocks.append(f"Failed: {failed}.")
        if well := recoveries(run, scenario):
            blocks.append(f"Back at {WELL:.0f} % good answers after the fault's end: {well}.")
        blocks.append(f"![{scenario.name}]({images}/bench-{scenario.name}.svg)")
    if lines := notes(run):
        blocks.append(
            "### What to know before believing it\n\n" + "\n".join(f"- {x}" for x in lines)
        )
    return "\n\n".join(blocks)


def write(page: Path, text: str) -> None:
    """Put ``text`` between the page's two marks. Raises ``ValueError`` if it has none."""
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the marks {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def as_json(run: Run) -> dict[str, Any]:
    return {
        "machine": run.machine,
        "method": run.method,
        "rows": {name: row_of(name).what for name in run.clients},
        "scenarios": [_scenario(run, scenario) for scenario in run.played],
        "skipped": run.skipped,
        "notes": notes(run),
    }


def _scenario(run: Run, scenario: Scenario) -> dict[str, Any]:
    lines = run.timelines(scenario)
    return {
        "name": scenario.name, "what": scenario.what, "rate": scenario.rate,
        "seconds": scenario.seconds * run.pace(scenario), "fault": run.fault(scenario),
        "deadline": scenario.deadline,
        "clients": {
            name: {
                **asdict(one),
                "timeline": lines[name],
                "turns": [_turn(turn) for turn in run.turns[scenario.name, name]],
            }
            for name, one in run.figures(scenario).items()
        },
    }  # fmt: skip


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "stolen": turn.stolen, "others": turn.others, "late": turn.late, "stories": turn.stories,
    }  # fmt: skip
