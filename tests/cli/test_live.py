"""The live display, as a terminal shows it (pyte is the terminal)."""

import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from threading import Thread

import pyte
import pytest

from layerkit.cli.live import LiveDisplay
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.progress import Activity, Outcome, Step
from tests.programs import LayerkitProcess

LAYER = Descriptor(media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=Digest.of(b"x"), size=1_500_000)
NAME = f"layer {LAYER.digest.encoded[:12]}"


def is_hidden(screen: pyte.Screen) -> bool:
    """Whether the cursor is."""
    return bool(screen.cursor.hidden)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """What is written to it, it shows."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__()
        self.size = (columns, lines)
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)
        self.screen.set_mode(pyte.modes.LNM)
        self.written = ""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        self.written += text
        self._stream.feed(text)
        return len(text)

    @property
    def shown(self) -> list[str]:
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines


Show = Callable[..., tuple[LiveDisplay, Terminal, Clock]]


@pytest.fixture
def show() -> Iterator[Show]:
    displays: list[LiveDisplay] = []

    def _show(columns: int = 80, lines: int = 24, *, colour: bool = True) -> tuple[LiveDisplay, Terminal, Clock]:
        terminal, clock = Terminal(columns, lines), Clock()
        display = LiveDisplay(colour=colour, stream=terminal, size=terminal.size, clock=clock)
        displays.append(display)
        return display, terminal, clock

    yield _show
    for display in displays:
        display.close(done=False)


def pack(name: str = "app", total: int | None = 200_000_000, group: str = "") -> Step:
    return Step(activity=Activity.PACK, name=name, total=total, group=group)


def copy() -> Step:
    return Step(activity=Activity.COPY, descriptor=LAYER, total=LAYER.size)


def test_a_running_step_has_a_line_with_how_far_it_is(show: Show) -> None:
    display, terminal, clock = show(80)
    step = pack()
    display.begin(step, "pushed")
    display.refresh()
    display.advance(step, 50_000_000)
    clock.now += 2
    display.refresh()
    (line,) = terminal.shown
    words = line.split()
    assert words[1:3] == ["packing", "app"]
    assert words[3].count("━") == len(words[3]) // 4
    assert words[4:] == ["50.0", "/", "200.0", "MB", "25.0", "MB/s", "2.0s"]
    assert len(line) <= 80


def test_a_step_whose_bytes_nobody_knows_has_no_bar(show: Show) -> None:
    display, terminal, clock = show(80)
    step = Step(activity=Activity.FETCH, name="model.bin")
    display.begin(step, "")
    display.advance(step, 1_000)
    clock.now += 70
    display.refresh()
    (line,) = terminal.shown
    assert line.split()[1:] == ["fetching", "model.bin", "1.0", "kB", "14", "B/s", "1m10s"]


def test_what_ended_stays_and_what_runs_is_below_it(show: Show) -> None:
    display, terminal, clock = show(100)
    first, second = pack("deps"), copy()
    display.note("building web")
    display.begin(first, "pushed")
    display.begin(second, "pushed")
    clock.now += 3
    display.end(first, Outcome.DONE, LAYER, "3 files, 200.0 MB")
    display.refresh()
    note, ended, running = terminal.shown
    assert note == "building web"
    assert ended.split() == ["✓", "packed", "deps", "3", "files,", "200.0", "MB", "→", "1.5", "MB", "3.0s"]
    assert running.split()[1:4] == ["pushing", *NAME.split()]
    display.end(second, Outcome.MOUNTED, LAYER, "")
    display.close(done=True)
    assert [line.split()[:2] for line in terminal.shown[2:]] == [["•", "mounted"], ["2", "steps"]]


def test_it_leaves_nothing_behind_but_what_ended(show: Show) -> None:
    display, terminal, _ = show()
    display.begin(copy(), "pushed")
    display.refresh()
    assert is_hidden(terminal.screen)
    display.close(done=False)
    assert terminal.shown == []
    assert not is_hidden(terminal.screen)
    assert (terminal.screen.cursor.x, terminal.screen.cursor.y) == (0, 0)


def test_a_failure_is_marked_and_what_it_stopped_is_not(show: Show) -> None:
    display, terminal, _ = show()
    failing, stopped = pack("deps"), pack("app")
    for step in (failing, stopped):
        display.begin(step, "pushed")
    display.end(failing, Outcome.FAILED, None, "")
    display.end(stopped, Outcome.CANCELLED, None, "")
    display.close(done=False)
    assert [line.split()[:3] for line in terminal.shown] == [["✗", "failed", "deps"]]


@pytest.mark.parametrize("columns", [20, 30, 40, 59, 60, 61, 72, 80, 100, 132, 250])
def test_no_line_is_longer_than_the_terminal_is_wide(show: Show, columns: int) -> None:
    display, terminal, clock = show(columns)
    name = "日本語の長い名前-" * 4 + "and-something-very-long" * 4
    steps = [pack(name, group=f"a-rather-long-image-name linux/arm/v{n}") for n in (6, 7)] + [copy()]
    for step in steps:
        display.begin(step, "pushed")
        display.advance(step, 123_456_789)
    clock.now += 1000
    display.refresh()
    assert len(terminal.shown) == 5
    for step in steps:
        display.end(step, Outcome.DONE, LAYER, "123,456 files, 999.9 GB")
    display.close(done=True)
    assert len(terminal.shown) == 4


def test_several_platforms_have_a_heading_each(show: Show) -> None:
    display, terminal, _ = show()
    for platform in ("linux/amd64", "linux/arm64"):
        for name in ("deps", "app"):
            display.begin(pack(name, group=f"web {platform}"), "")
    display.refresh()
    assert [line.split()[:3][-1] for line in terminal.shown] == [
        "linux/amd64",
        "deps",
        "app",
        "linux/arm64",
        "deps",
        "app",
    ]
    ended = pack("tools", group="web linux/arm64")
    display.begin(ended, "")
    display.end(ended, Outcome.REUSED, LAYER, "1 file")
    assert terminal.shown[0].endswith("web linux/arm64")


def test_there_is_never_more_than_the_terminal_has_room_for(show: Show) -> None:
    display, terminal, _ = show(80, 10)
    for number in range(40):
        display.begin(pack(f"layer-{number}"), "")
    display.refresh()
    assert len(terminal.shown) == 8
    assert terminal.shown[-1].strip() == "… and 33 more"


def test_without_colour_there_is_none(show: Show) -> None:
    """NO_COLOR: "should not add ANSI color"; redrawing is something else."""
    for colour in (True, False):
        display, terminal, _ = show(colour=colour)
        step = pack()
        display.begin(step, "")
        display.refresh()
        display.warn("careful")
        display.end(step, Outcome.DONE, LAYER, "1 file")
        display.close(done=True)
        assert ("\x1b[36m" in terminal.written or "\x1b[32m" in terminal.written) is colour


def test_a_terminal_without_unicode_gets_none(show: Show) -> None:
    class Ascii(Terminal):
        encoding = "ascii"

    terminal = Ascii(80, 24)
    display = LiveDisplay(colour=True, stream=terminal, size=terminal.size)
    step, other = pack("deps", total=10), pack("a-name-that-is-longer-than-its-column", total=10)
    for begun in (step, other):
        display.begin(begun, "")
        display.advance(begun, 5)
    display.refresh()
    display.end(step, Outcome.DONE, LAYER, "1 file")
    display.end(other, Outcome.PRESENT, LAYER, "")
    display.close(done=True)
    assert terminal.written.isascii()


def test_threads_and_redrawing_do_not_wait_for_each_other(show: Show) -> None:
    display, terminal, _ = show(100, 200)

    def work() -> None:
        for _ in range(20):
            step = copy()
            display.begin(step, "pushed")
            display.advance(step, 1)
            display.refresh()
            display.end(step, Outcome.COPIED, LAYER, "")

    threads = [Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    display.close(done=True)
    assert len(terminal.shown) == 121


class Pty:
    """A program on a terminal of its own."""

    def __init__(self, arguments: list[str], cwd: Path, environment: dict[str, str], columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.screen = pyte.Screen(columns, 40)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def read(self) -> bool:
        """Whether there was something, until the program's end."""
        try:
            content = os.read(self._master, 65536)
        except OSError:
            return False
        self.raw += content
        self._stream.feed(content)
        return bool(content)

    def finish(self) -> int:
        while self.read():
            pass
        os.close(self._master)
        return self.process.wait(timeout=60)

    @property
    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.fixture
def environment(layerkit: LayerkitProcess) -> dict[str, str]:
    left = {name: value for name, value in os.environ.items() if name not in {"CI", "NO_COLOR", "TERM"}}
    return {**left, "XDG_DATA_HOME": str(layerkit.data), "TERM": "xterm-256color"}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(5_000_000))
    (folder / "layerkit.yaml").write_text("from: scratch\nlayers:\n  - {name: app, copy: [./file:/file]}\n")
    return folder


def test_a_build_on_a_terminal(environment: dict[str, str], context: Path) -> None:
    terminal = Pty(["-m", "layerkit", "build", "-t", "localhost/web:1"], context, environment)
    assert terminal.finish() == 0
    assert not is_hidden(terminal.screen)
    packed = [line for line in terminal.shown if "packed" in line]
    assert [line.split()[:7] for line in packed] == [["✓", "packed", "app", "1", "file,", "5.0", "MB"]]
    assert terminal.shown[-1].startswith("sha256:")
    assert not any("packing" in line for line in terminal.shown)


@pytest.mark.parametrize(
    ("name", "value"), [("CI", "1"), ("TERM", "dumb"), ("LAYERKIT", "--progress=plain"), ("LAYERKIT", "--quiet")]
)
def test_a_terminal_that_is_none_gets_no_control_characters(
    environment: dict[str, str], context: Path, name: str, value: str
) -> None:
    options = [value] if name == "LAYERKIT" else []
    arguments = ["-m", "layerkit", "build", "-t", "localhost/web:1", *options]
    terminal = Pty(arguments, context, {**environment, name: value})
    assert terminal.finish() == 0
    assert b"\x1b" not in terminal.raw


INTERRUPTED = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import click
from layerkit.cli import main
from layerkit.cli.output import Output, StepLog
from layerkit.progress import Activity, Step, running

@main.cli.command("wait")
def wait():
    output = Output()
    async def work():
        with running(StepLog(output, verb="pushed"), Step(activity=Activity.PACK, name="endless")):
            await asyncio.Event().wait()
    asyncio.run(work())

main._COMMANDS = {**main._COMMANDS, "wait": ("__main__", "wait", "")}
sys.argv = ["layerkit", "wait"]
main.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_display_that_is_interrupted_gives_the_cursor_back(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "wait.py").write_text(INTERRUPTED)
    terminal = Pty([str(tmp_path / "wait.py")], tmp_path, environment)
    while not any("endless" in line for line in terminal.shown):
        assert terminal.read()
    assert is_hidden(terminal.screen)
    terminal.process.send_signal(number)
    assert terminal.finish() == code
    assert not is_hidden(terminal.screen)
    assert b"Traceback" not in terminal.raw
