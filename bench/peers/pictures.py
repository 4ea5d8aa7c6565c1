"""One picture for each scenario: good answers and p99 over time, a line for each client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.peers.report import Run
from bench.peers.rows import CANDIDATE, row_of
from bench.peers.scenarios import Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE: Final = (9.0, 5.2)
"""Inches."""
_LOOK: Final[Any] = {
    "svg.hashsalt": "seawall",  # the same picture has the same bytes
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(run: Run, directory: Path) -> list[Path]:
    """Write ``bench-<scenario>.svg`` for all that was played. Raises ``ImportError`` without
    matplotlib."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for scenario in run.played:
        paths.append(directory / f"bench-{scenario.name}.svg")
        _picture(run, scenario, paths[-1])
    return paths


def _picture(run: Run, scenario: Scenario, path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_LOOK):
        figure = Figure(figsize=SIZE, layout="constrained")
        good, slow = figure.subplots(2, 1, sharex=True)
        for name, line in run.timelines(scenario).items():
            _line(good, slow, name, line)
        for axes in (good, slow):
            if (fault := run.fault(scenario)) is not None:
                axes.axvspan(*fault, color="#f4e9dd", zorder=0)
            axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        good.set_ylabel("good answers, %")
        good.set_ylim(-3, 103)
        slow.set_yscale("log")
        slow.set_ylabel("p99, ms")
        slow.set_xlabel("seconds")
        good.set_title(f"{scenario.name}: {scenario.what}", loc="left", fontsize=9, wrap=True)
        figure.legend(*good.get_legend_handles_labels(), loc="outside lower center", ncols=7,
                      frameon=False)  # fmt: skip
        figure.savefig(path, metadata={"Date": None})


def _line(good: Axes, slow: Axes, name: str, line: list[dict[str, Any]]) -> None:
    ours = name in ("seawall", CANDIDATE)
    style: dict[str, Any] = {
        "color": row_of(name).colour,
        "linewidth": 2.2 if ours else 1.3,
        "zorder": 3 if ours else 2,
        "label": name,
    }
    times = [step["at"] for step in line]
    good.plot(times, [step["success"] for step in line], **style)
    slow.plot(times, [step["p99"] * 1e3 for step in line], **style)
