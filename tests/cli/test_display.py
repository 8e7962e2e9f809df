"""The displays that need no terminal: plain lines, JSON lines, silence."""

import json
from threading import Thread
from typing import Any

import pytest

from layerkit.cli.display import (
    REMINDER,
    REPORT,
    Display,
    JsonDisplay,
    PlainDisplay,
    QuietDisplay,
    Ticker,
    format_done,
    format_seconds,
)
from layerkit.cli.output import choose_mode
from layerkit.cli.voice import wants_colour
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.progress import Activity, Outcome, Step

LAYER = Descriptor(media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=Digest.of(b"x"), size=1_500_000)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def copy(**fields: Any) -> Step:
    return Step(activity=Activity.COPY, **{"descriptor": LAYER, "total": LAYER.size, **fields})


def pack(name: str, **fields: Any) -> Step:
    return Step(activity=Activity.PACK, name=name, **fields)


class TestPlain:
    def test_what_ended_is_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        display = PlainDisplay()
        one, two = pack("app"), copy()
        display.begin(one, "pulled")
        display.begin(two, "pulled")
        display.end(two, Outcome.COPIED, LAYER, "")
        display.end(one, Outcome.DONE, LAYER, "3 files, 2.0 MB")
        display.close(done=True)
        assert capsys.readouterr().err.splitlines() == [
            f"  pulled   layer      1.5 MB  {LAYER.digest}",
            f"  layer      1.5 MB  {LAYER.digest}  app: 3 files, 2.0 MB",
        ]

    def test_what_takes_long_is_told_now_and_then(self, capsys: pytest.CaptureFixture[str]) -> None:
        """One line about every ten seconds: a log shows that the work goes on, and where it is."""
        clock = Clock()
        display = PlainDisplay(clock=clock)
        step = copy()
        display.begin(step, "pushed")
        display.advance(step, 500_000)
        for clock.now in (REMINDER - 1, REMINDER, REMINDER + 1, 2 * REMINDER - 1, 2 * REMINDER):
            display.tick()
        display.end(step, Outcome.COPIED, LAYER, "")
        clock.now = 100
        display.tick()
        display.close(done=True)
        name = f"layer {LAYER.digest.encoded[:12]}"
        assert capsys.readouterr().err.splitlines() == [
            f"  pushing  {name}: 500.0 kB of 1.5 MB after 10s",
            f"  pushing  {name}: 500.0 kB of 1.5 MB after 20s",
            f"  pushed   layer      1.5 MB  {LAYER.digest}",
        ]

    def test_several_images_and_platforms_are_told_apart(self, capsys: pytest.CaptureFixture[str]) -> None:
        display = PlainDisplay()
        steps = [pack("app", group=f"web linux/{architecture}") for architecture in ("amd64", "arm64")]
        for step in steps:
            display.begin(step, "pulled")
        for step in steps:
            display.end(step, Outcome.REUSED, LAYER, "1 file")
        display.close(done=True)
        assert [line.partition("  app: ")[2] for line in capsys.readouterr().err.splitlines()] == [
            "1 file (reused)  [web linux/amd64]",
            "1 file (reused)  [web linux/arm64]",
        ]

    def test_the_first_of_several_says_what_it_is_for_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        display = PlainDisplay()
        display.expect(["web linux/amd64", "web linux/arm64"])
        step = pack("app", group="web linux/arm64")
        display.begin(step, "")
        display.end(step, Outcome.DONE, LAYER, "1 file")
        display.close(done=True)
        assert capsys.readouterr().err.endswith("app: 1 file  [web linux/arm64]\n")

    def test_what_is_for_no_image_makes_not_several_of_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        display = PlainDisplay()
        fetch, step = Step(activity=Activity.FETCH, name="a.deb"), pack("app", group="web linux/amd64")
        for each in (fetch, step):
            display.begin(each, "")
            display.end(each, Outcome.DONE, LAYER, "1 file")
        display.close(done=True)
        assert capsys.readouterr().err.endswith("app: 1 file\n")

    def test_no_name_brings_a_control_character(self, capsys: pytest.CaptureFixture[str]) -> None:
        display = PlainDisplay()
        step = Step(activity=Activity.FETCH, name="a\x1b[31m\rb", group="\x07")
        display.begin(step, "")
        display.end(step, Outcome.DONE, None, "\x1b[2J")
        display.close(done=True)
        assert all(c.isprintable() or c == "\n" for c in capsys.readouterr().err)


class TestJson:
    def test_each_line_is_an_object(self, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/output.md, "Progress"."""
        clock = Clock()
        display = JsonDisplay(clock=clock)
        step = pack("app", group="web linux/amd64", total=1000)
        display.note("building web")
        display.begin(step, "pulled")
        for clock.now in (REPORT / 2, REPORT, REPORT * 1.5, REPORT * 2):
            display.advance(step, 250)
        display.end(step, Outcome.DONE, LAYER, "1 file")
        display.warn("careful")
        display.error("it broke", "mend it", bare=False)
        display.close(done=False)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        layer = {"mediaType": LAYER.media_type, "digest": LAYER.digest, "size": LAYER.size}
        assert lines == [
            {"event": "note", "at": 0.0, "text": "building web"},
            {
                "event": "begin",
                "at": 0.0,
                "step": 1,
                "activity": "pack",
                "name": "app",
                "group": "web linux/amd64",
                "total": 1000,
            },
            {"event": "advance", "at": 0.5, "step": 1, "done": 500},
            {"event": "advance", "at": 1.0, "step": 1, "done": 1000},
            {
                "event": "end",
                "at": 1.0,
                "step": 1,
                "outcome": "done",
                "done": 1000,
                "seconds": 1.0,
                "descriptor": layer,
                "detail": "1 file",
            },
            {"event": "warning", "at": 1.0, "text": "careful"},
            {"event": "error", "at": 1.0, "text": "it broke", "hint": "mend it"},
        ]

    def test_a_copy_names_its_content_from_the_start(self, capsys: pytest.CaptureFixture[str]) -> None:
        display = JsonDisplay()
        step = copy()
        display.begin(step, "pushed")
        display.end(step, Outcome.FAILED, LAYER, "")
        begin, end = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert begin["descriptor"]["digest"] == LAYER.digest
        assert end["outcome"] == "failed"


def test_quiet_is_silent_but_for_errors(capsys: pytest.CaptureFixture[str]) -> None:
    display, step = QuietDisplay(), copy()
    display.begin(step, "pushed")
    display.advance(step, 1)
    display.end(step, Outcome.COPIED, LAYER, "")
    display.note("note")
    display.warn("warning")
    display.close(done=True)
    assert capsys.readouterr().err == ""
    display.error("it broke", "mend it", bare=False)
    assert capsys.readouterr().err == "error: it broke\nhint: mend it\n"


@pytest.mark.parametrize("make", [PlainDisplay, JsonDisplay])
def test_threads_may_tell_at_once(make: type[PlainDisplay | JsonDisplay], capsys: pytest.CaptureFixture[str]) -> None:
    display: Display = make()

    def work() -> None:
        for _ in range(50):
            step = copy()
            display.begin(step, "pushed")
            display.advance(step, 1)
            display.end(step, Outcome.COPIED, LAYER, "")

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    display.close(done=True)
    lines = capsys.readouterr().err.splitlines()
    if make is PlainDisplay:
        assert set(lines) == {f"  pushed   layer      1.5 MB  {LAYER.digest}"}
        assert len(lines) == 400
    else:
        assert {json.loads(line)["event"] for line in lines} == {"begin", "end"}
        assert len(lines) == 800


def test_a_ticker_stops() -> None:
    ticks: list[int] = []
    ticker = Ticker(lambda: ticks.append(1), 1000)
    ticker.stop()
    assert not ticks


@pytest.mark.parametrize(
    ("mode", "environment", "on_terminal", "chosen"),
    [
        ("auto", {}, True, "rich"),
        ("auto", {}, False, "plain"),
        ("auto", {"TERM": "dumb"}, True, "plain"),
        ("auto", {"CI": "true"}, True, "plain"),
        ("auto", {"CI": "false"}, True, "rich"),
        ("auto", {"NO_COLOR": "1"}, True, "rich"),
        ("rich", {"CI": "true"}, False, "rich"),
        ("plain", {}, True, "plain"),
        ("json", {}, True, "json"),
    ],
)
def test_auto_is_rich_where_somebody_watches(
    mode: str, environment: dict[str, str], on_terminal: bool, chosen: str
) -> None:
    assert choose_mode(mode, environment, on_terminal=on_terminal) == chosen


@pytest.mark.parametrize(
    ("environment", "on_terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, False, True),
        ({"TERM": "dumb"}, True, False),
        ({"CLICOLOR": "0"}, True, False),
    ],
)
def test_no_color_comes_before_force_color_before_the_terminal(
    environment: dict[str, str], on_terminal: bool, wanted: bool
) -> None:
    """CONVENTIONS 3.6: "NO_COLOR > FORCE_COLOR/CLICOLOR_FORCE > TTY, TERM=dumb"."""
    assert wants_colour(environment, on_terminal=on_terminal) is wanted


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m00s"), (185, "3m05s"), (7620, "2h07m")],
)
def test_a_time_is_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [(0, None, ""), (5, None, "5 B"), (0, 10, "0 B of 10 B"), (11, 10, "10 B of 10 B"), (0, 0, "")],
)
def test_how_far_a_step_is(done: int, total: int | None, text: str) -> None:
    assert format_done(done, total) == text
