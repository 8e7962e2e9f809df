"""The benchmark's harness, on folders that are next to nothing, so that it does not rot. Figures are no matter."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bench import builder, report

SMALLEST = builder.Sizes(
    entries=60,
    size=200_000,
    large=100_000,
    tiny=20,
    seconds=0,
    settled=0,
    sources=[Path(__file__).parent],
    is_thorough=False,
    has_engines=False,
)
CASES = {
    report.COLD,
    report.UNCHANGED,
    report.PUSH,
    report.APP,
    report.EDIT,
    report.PACKAGE,
    report.TINY,
    report.TINY_UNCHANGED,
    report.LARGE,
    report.SMALL,
    report.HELP,
}


def rows(lines: Iterable[str], title: str) -> dict[str, list[str]]:
    """The table below a title: by the first cell of each row the others."""
    section = "\n".join(lines).split(f"## Builder: {title}\n")[1].split("\n## ")[0]
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*$", section, re.MULTILINE)
    ]
    return {first: rest for first, *rest in table}


def test_each_case_is_measured_and_drawn(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    lines = builder.measure(SMALLEST, plot=plot)
    assert rows(lines, "seconds").keys() > CASES
    assert "![Seconds that each builder takes](plot.svg)" in lines
    drawn = "".join(ET.fromstring(plot.read_text()).itertext())
    assert all(f"{case}, seconds" in drawn for case in (report.COLD, report.EDIT, report.UNCHANGED))


@pytest.mark.engine
@pytest.mark.timeout(300)
def test_others_are_measured_beside_us() -> None:
    lines = builder.measure(replace(SMALLEST, seconds=600, has_engines=True))
    assert {"layerkit", "buildah", "docker", "tar, pigz -6", "tar to cat"} <= set(rows(lines, "seconds")["seconds"])
    assert all(rows(lines, "seconds")[report.COLD][:6])
    sent = rows(lines, "sent to the registry, MB")
    assert all(sent[report.APP])
    assert "not measured" not in "\n".join(lines)
