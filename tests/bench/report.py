"""The report of the builder's benchmark: targets, tables, and the figures of the plot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.cases import Measured
from tests.bench.measuring import format_figure
from tests.bench.plot import Bar, Panel, draw
from tests.bench.usage import Usage

COLD: Final = "cold build"
UNCHANGED: Final = "nothing changed"
PUSH: Final = "push, nothing changed"
APP: Final = "the small layer changed, build and push"
EDIT: Final = "one small file changed"
PACKAGE: Final = "one package replaced"
TINY: Final = "tiny files, cold"
TINY_UNCHANGED: Final = "tiny files, nothing changed"
LARGE: Final = "one large file, cold"
SMALL: Final = "a small spec, nothing changed"
HELP: Final = "`--help`"

OURS: Final = "layerkit"
FAST: Final = "layerkit gzip:fast"
ZSTD: Final = "layerkit zstd"
PIGZ: Final = "tar, pigz -6"
TAR: Final = "tar to cat"
FIND: Final = "find -printf"
BUILDAH: Final = "buildah"

_PANELS: Final = (COLD, EDIT, UNCHANGED)


def write(measured: Sequence[Measured], description: str, plot: Path | None) -> list[str]:
    """Lines of Markdown. The plot is written beside them, where one is wanted."""
    lines = ["## Builder", "", description, ""]
    if plot is not None:
        plot.write_text(draw(_panels(measured)))
        lines += [f"![Seconds that each builder takes]({plot.name})", ""]
    lines += ["| target | measured | |", "|---|---|---|"]
    lines += [target.row(_Figures(measured)) for target in _TARGETS]
    for title, figure, form, has_ratio in _TABLES:
        lines += ["", f"## Builder: {title}", "", *_table(measured, title, figure, form, has_ratio=has_ratio)]
    return [
        *lines,
        "",
        f"In brackets: how many times as much as {OURS}, which is with gzip unless it says another codec. "
        "Figures with a * are of one run.",
    ]


class _Figures:
    """What was measured, by case and name. Raises KeyError for what was not."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self._usages = {case.label: case.usages for case in measured}

    def wall(self, case: str, name: str = OURS) -> float:
        return self._usages[case][name].wall

    def times(self, name: str, ours: str = OURS, case: str = COLD) -> float:
        """How many times as long it took as we."""
        return self.wall(case, name) / self.wall(case, ours)

    def stored(self, name: str, other: str, case: str = COLD) -> float:
        """The size of what one stored, in that of the other."""
        one, two = self._usages[case][name].stored, self._usages[case][other].stored
        if one is None or two is None:
            raise KeyError(name)
        return one / two

    def requests(self, case: str) -> float:
        return self._usages[case][OURS].requests or 0

    def most_memory(self) -> float:
        """Of all that is ours, in megabytes."""
        return max(
            usage.memory / 1e6
            for usages in self._usages.values()
            for name, usage in usages.items()
            if name.startswith(OURS)
        )


@dataclass(frozen=True)
class _Target:
    """`bound` is the least or the most that it may be."""

    text: str
    bound: float
    unit: str
    measure: Callable[[_Figures], float]
    is_least: bool = False

    def row(self, figures: _Figures) -> str:
        text = f"{self.text}: at {'least' if self.is_least else 'most'} {self.bound:g} {self.unit}"
        try:
            value = self.measure(figures)
        except KeyError:
            return f"| {text} | | not measured |"
        is_met = value >= self.bound if self.is_least else value <= self.bound
        return f"| {text} | {format_figure(value)} {self.unit} | {'met' if is_met else '**missed**'} |"


_TARGETS: Final = (
    _Target("cold build as fast as buildah", 12, "x", lambda of: of.times(BUILDAH), is_least=True),
    _Target("gzip:fast as fast as buildah", 15, "x", lambda of: of.times(BUILDAH, FAST), is_least=True),
    _Target("gzip:fast, in times of `tar -cf - \\| cat`", 3.5, "x", lambda of: 1 / of.times(TAR, FAST)),
    _Target("zstd as fast as gzip", 1, "x", lambda of: 1 / of.times(ZSTD), is_least=True),
    _Target("size of gzip, in that of `pigz -6`", 1.15, "x", lambda of: of.stored(OURS, PIGZ)),
    _Target("size of zstd, in that of gzip", 1, "x", lambda of: of.stored(ZSTD, OURS)),
    _Target(
        "nothing changed, in 3 times of `find -printf` + 0.3 s",
        1,
        "x",
        lambda of: of.wall(UNCHANGED) / (3 * of.wall(UNCHANGED, FIND) + 0.3),
    ),
    _Target("one small file changed, in cold builds", 0.333, "x", lambda of: of.wall(EDIT) / of.wall(COLD)),
    _Target("memory of all that is ours, the large file too", 150, "MB", _Figures.most_memory),
    _Target("a small spec, nothing changed", 0.3, "s", lambda of: of.wall(SMALL)),
    _Target("`layerkit --help`", 0.15, "s", lambda of: of.wall(HELP)),
    _Target("push of an unchanged image", 2, "requests", lambda of: of.requests(PUSH)),
)


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f}" if value >= 1e7 else f"{value / 1e6:,.2f}"


_TABLES: Final[Sequence[tuple[str, Callable[[Usage], float | None], Callable[[float], str], bool]]] = (
    ("seconds", lambda usage: usage.wall, format_figure, True),
    ("seconds of CPU, of all processes", lambda usage: usage.cpu, format_figure, True),
    ("peak memory of all processes, MB", lambda usage: usage.memory, _megabytes, False),
    ("size of the layers, MB", lambda usage: usage.stored, _megabytes, False),
    ("sent to the registry, MB", lambda usage: usage.sent, _megabytes, False),
    ("requests to the registry", lambda usage: usage.requests, lambda value: f"{value:.0f}", False),
)


def _table(
    measured: Sequence[Measured],
    unit: str,
    figure: Callable[[Usage], float | None],
    form: Callable[[float], str],
    *,
    has_ratio: bool,
) -> list[str]:
    """A row for each case, a column for each who took part in one; without what has no such figure."""
    rows = {
        case.label: {name: value for name, usage in case.usages.items() if (value := figure(usage)) is not None}
        for case in measured
    }
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"| {unit} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for case in measured:
        row = rows[case.label]
        cells = []
        for name in names:
            cell = ""
            if name in row:
                cell = form(row[name]) + ("*" if case.runs[name] == 1 else "")
                if has_ratio and name != OURS and row.get(OURS):
                    cell += f" ({row[name] / row[OURS]:.2f} x)"
            cells.append(cell)
        if any(cells):
            lines.append(f"| {case.label} | {' | '.join(cells)} |")
    return lines


def _panels(measured: Sequence[Measured]) -> list[Panel]:
    by_label = {case.label: case for case in measured}
    return [
        Panel(
            title=label,
            bars=tuple(
                Bar(label=name, value=usage.wall, is_ours=name.startswith(OURS))
                for name, usage in by_label[label].usages.items()
            ),
        )
        for label in _PANELS
        if label in by_label
    ]
