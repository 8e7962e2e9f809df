"""Alternating runs, medians, and tables."""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """Something measured: `run` does it once and answers its figure."""

    name: str
    run: Callable[[], float]


def alternate(contenders: list[Contender], *, rounds: int = 3) -> dict[str, float]:
    """The median of each contender's figures, after one round that does not count; in turn, so that a machine whose
    speed drifts is fair to all."""
    figures: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            figure = contender.run()
            if number:
                figures[contender.name].append(figure)
    return {name: statistics.median(values) for name, values in figures.items()}


def timed(work: Callable[[], object]) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(title: str, unit: str, rows: Mapping[str, Mapping[str, float]], *, best: str) -> list[str]:
    """A Markdown table: a row for each measurement, a column for each contender, and the ratio of ours to each.

    `best` is "high" or "low".
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"## {title}", "", f"| {unit} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for label, row in rows.items():
        ours = row[names[0]]
        cells = []
        for name in names:
            if name not in row:
                cells.append("")
            elif name == names[0]:
                cells.append(format_figure(row[name]))
            else:
                ratio = ours / row[name] if best == "high" else row[name] / ours
                cells.append(f"{format_figure(row[name])} ({ratio:.2f} x)")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return [*lines, "", f"In brackets: how many times as good {names[0]} is as the other."]


def format_figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def require(*programs: str) -> None:
    """Say what is missing, and end."""
    missing = [
        name for name in programs if shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin") is None
    ]
    if missing:
        sys.exit(
            f"make bench needs {', '.join(missing)}: "
            "apt-get install docker-registry nginx-light wrk curl buildah docker.io pigz"
        )


def run(*command: str, **options: object) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout  # type: ignore[call-overload,no-any-return]
