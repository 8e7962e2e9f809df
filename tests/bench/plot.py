"""Bars as an SVG: light, without a library, readable on white and on dark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from tests.bench.measuring import format_figure

_WIDTH: Final = 760
_LEFT: Final = 170
"""Where bars begin; their names end before it."""
_RIGHT: Final = 110
"""What is left for the figure after the longest bar."""
_ROW: Final = 24
_TITLE: Final = 40
_MARGIN: Final = 16

_STYLE: Final = """\
.page { fill: #ffffff } .title { fill: #1f2328; font-weight: 600 } .name, .figure { fill: #424a53 }
.ours { fill: #1a7f64 } .others { fill: #8c959f } .ground { stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 } .title { fill: #e6edf3 } .name, .figure { fill: #b1bac4 }
  .ours { fill: #3fb68b } .others { fill: #6e7681 } .ground { stroke: #30363d }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`value` in seconds."""

    label: str
    value: float
    is_ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Bars of one scale."""

    title: str
    bars: tuple[Bar, ...]


def draw(panels: Sequence[Panel]) -> str:
    """The text of the SVG."""
    body: list[str] = []
    top = float(_MARGIN)
    for panel in panels:
        body += _draw_panel(panel, top)
        top += _TITLE + _ROW * len(panel.bars)
    height = top + _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:g}" '
            f'viewBox="0 0 {_WIDTH} {height:g}" font-family="system-ui, sans-serif" font-size="13">',
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH}" height="{height:g}" rx="6"/>',
            *body,
            "</svg>\n",
        ]
    )


def _draw_panel(panel: Panel, top: float) -> Iterator[str]:
    yield f'<text class="title" x="{_MARGIN}" y="{top + 22:g}">{escape(panel.title)}, seconds</text>'
    longest = max((bar.value for bar in panel.bars), default=0) or 1
    begin = top + _TITLE - 6
    for number, bar in enumerate(panel.bars):
        y = begin + number * _ROW
        # What took next to nothing is still seen.
        width = max(1.5, bar.value / longest * (_WIDTH - _LEFT - _RIGHT))
        kind = "ours" if bar.is_ours else "others"
        yield f'<text class="name" x="{_LEFT - 10}" y="{y + 15:g}" text-anchor="end">{escape(bar.label)}</text>'
        yield f'<rect class="{kind}" x="{_LEFT}" y="{y + 2:g}" width="{width:.1f}" height="{_ROW - 6}" rx="2"/>'
        yield (
            f'<text class="figure" x="{_LEFT + width + 8:.1f}" y="{y + 15:g}">{escape(format_figure(bar.value))}</text>'
        )
    end = begin + len(panel.bars) * _ROW
    yield f'<line class="ground" x1="{_LEFT - 0.5}" y1="{begin:g}" x2="{_LEFT - 0.5}" y2="{end:g}"/>'
