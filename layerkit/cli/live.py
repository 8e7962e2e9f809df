"""The live display of a terminal: a line for each step that runs, redrawn in place; those that ended scroll away.

Only colours that both light and dark backgrounds show are used, and the marks say the same without any. Imported only
where stderr is a terminal, for it needs rich.
"""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from threading import RLock, current_thread, main_thread
from types import FrameType
from typing import Final, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from layerkit.cli.display import Ticker, Watched, format_seconds, is_aside
from layerkit.cli.voice import one_line, write_error
from layerkit.oci.descriptor import Descriptor
from layerkit.progress import Activity, Outcome, Step
from layerkit.sizes import format_size

REFRESHES: Final = 8
"""Each second."""
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_WINDOW: Final = 3.0
"""Seconds over which a rate is taken."""
_NARROW: Final = 60
"""Columns below which a line has a name and how far it is, and no more."""
_NAME: Final = 26
_BAR: Final = 24
_SHORTEST_BAR: Final = 6
_SIZES: Final = 19
"""Columns of `999.9 kB / 999.9 MB`."""
_HEAD: Final = len(" . fetching ")


class LiveDisplay:
    def __init__(
        self,
        *,
        colour: bool,
        stream: TextIO | None = None,
        size: tuple[int | None, int | None] = (None, None),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`size` is of the terminal, in columns and lines, where it is not to be asked."""
        self._lock = RLock()
        self._drawing = RLock()
        """Of whoever writes. rich's own locks keep two threads from writing at once, and not from each taking the
        other's lines for still to be erased. It is taken first, never while the other one is held."""
        self._clock = clock
        self._console = Console(
            file=stream or sys.stderr,
            width=size[0],
            height=size[1],
            force_terminal=True,
            no_color=not colour,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        self._unicode = (self._console.encoding or "").lower().startswith("utf")
        self._live: Live | None = None
        self._ticker: Ticker | None = None
        self._running: dict[Step, Watched] = {}
        self._groups: dict[str, None] = {}
        self._ended = 0
        self._begun = clock()

    def note(self, text: str) -> None:
        self._print(Text(text))

    def warn(self, text: str) -> None:
        self._print(Text.assemble(("warning: ", "bold yellow"), text))

    def error(self, text: str, hint: str, *, bare: bool) -> None:
        write_error(text, hint, bare=bare, colour=not self._console.no_color)

    def expect(self, groups: Sequence[str]) -> None:
        with self._lock:
            self._groups.update(dict.fromkeys(groups))

    def begin(self, step: Step, verb: str) -> None:
        with self._lock:
            self._running[step] = Watched(step=step, verb=verb, begun=self._clock())
            self._groups.setdefault(step.group)
            live = None if self._live else self._make()
        if live is not None:
            with self._drawing:
                live.start()
            self._ticker = Ticker(self.refresh, 1 / REFRESHES)
            self._heed_termination()

    def advance(self, step: Step, count: int) -> None:
        with self._lock:
            self._running[step].done += count

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None, detail: str) -> None:
        with self._lock:
            watched = self._running.pop(step)
            if outcome is Outcome.CANCELLED or (outcome is not Outcome.FAILED and is_aside(watched, self._clock())):
                return
            self._ended += 1
            line = self._ended_line(watched, outcome, descriptor, one_line(detail))
        self._print(line)

    def refresh(self) -> None:
        """Draw what runs now."""
        with self._drawing:
            if self._live is not None:
                self._live.refresh()

    def close(self, *, done: bool) -> None:
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.stop()
        with self._drawing:
            live, self._live = self._live, None
            if live is None:
                return
            live.stop()
        self._ignore_termination()
        ended, self._ended = self._ended, 0
        if done and ended:
            steps = "1 step" if ended == 1 else f"{ended} steps"
            self._print(Text(f"   {steps} in {format_seconds(self._clock() - self._begun)}", "dim"))

    def _make(self) -> Live:
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        return self._live

    def _print(self, text: Text) -> None:
        # Wrapped by the terminal, if at all: what is wide is for copying.
        with self._drawing:
            self._console.print(text, soft_wrap=True)

    def render(self) -> Group:
        """The lines of what runs now, at most as many as the terminal has room for."""
        with self._lock:
            now = self._clock()
            most = max(self._console.height - 2, 1)
            lines: list[Text] = []
            for group in self._groups:
                running = [watched for watched in self._running.values() if watched.step.group == group]
                if running and group and self._are_several:
                    lines.append(Text(one_line(group), "bold", no_wrap=True, overflow="ellipsis"))
                lines += [self._running_line(watched, now) for watched in running]
            if len(lines) > most:
                hidden = len(lines) - most + 1
                lines[most - 1 :] = [Text(f"   {self._ellipsis} and {hidden} more", "dim")]
            return Group(*lines)

    @property
    def _ellipsis(self) -> str:
        return "…" if self._unicode else "..."

    def _fit(self, text: str, width: int) -> str:
        """`text` in exactly so many columns."""
        if cell_len(text) > width:
            text = set_cell_size(text, max(width - len(self._ellipsis), 0)) + self._ellipsis
        return set_cell_size(text, width)

    @property
    def _are_several(self) -> bool:
        """Whether it must be told what is for which image and platform."""
        return sum(bool(group) for group in self._groups) > 1

    def _running_line(self, watched: Watched, now: float) -> Text:
        width = self._console.width - 1
        done, total = watched.done, watched.step.total
        elapsed = format_seconds(now - watched.begun)
        mark = self._spin(now)
        if width < _NARROW:
            far = f"{min(100 * done // total, 100)}%" if total else format_size(done) if done else ""
            tail = f" {far:>5} {elapsed:>5}"
            room = max(width - len(f" . {watched.doing} ") - len(tail), 4)
            line = Text.assemble(
                (f" {mark} ", "cyan"), f"{watched.doing} ", (self._fit(watched.name, room), "bold"), (tail, "dim")
            )
            line.truncate(width)
            return line
        rate = self._rate(watched, now)
        tail = f"{format_size(rate) + '/s' if rate else '':>11} {elapsed:>6}"
        name = self._name_width(width)
        room = width - _HEAD - name - 2 - len(tail)
        sizes = self._fraction(done, total) if total else format_size(done) if done else ""
        line = Text.assemble(
            (f" {mark} ", "cyan"), f"{watched.doing:<8} ", (self._fit(watched.name, name), "bold"), "  "
        )
        bar = min(_BAR, room - _SIZES) if total else 0
        if total and bar >= _SHORTEST_BAR:
            line.append_text(self._bar(done / total, bar))
            room -= bar
        line.append(f"{sizes:>{room}}")
        line.append(tail, "dim")
        line.truncate(width)
        return line

    def _ended_line(self, watched: Watched, outcome: Outcome, descriptor: Descriptor | None, detail: str) -> Text:
        width = self._console.width - 1
        mark, style = self._mark(outcome)
        seconds = self._clock() - watched.begun
        took = format_seconds(seconds) if seconds >= 0.1 else ""
        word, name = watched.done_as(outcome), watched.name
        if width >= _NARROW:
            word, name = f"{word:<8}", self._fit(name, self._name_width(width))
        line = Text.assemble((f" {mark} ", style), f"{word} ", (name, "bold"), "  ")
        room = width - line.cell_len - len(took) - 1
        about = self._about(watched.step, outcome, descriptor, detail)
        # The most that there is room for: the first is the whole, the last the least.
        line.append_text(next((text for text in about if text.cell_len <= room), about[-1]))
        if width >= _NARROW:
            line.append(" " * max(width - line.cell_len - len(took), 1) + took, "dim")
        line.rstrip()
        line.truncate(width, overflow="ellipsis" if self._unicode else "crop")
        return line

    def _about(self, step: Step, outcome: Outcome, descriptor: Descriptor | None, detail: str) -> list[Text]:
        group = Text(f"  {one_line(step.group)}", "dim") if step.group and self._are_several else Text()
        if outcome is Outcome.FAILED:
            return [group]
        size = format_size(descriptor.size) if descriptor else ""
        whole = ", ".join(filter(None, (detail, size)))
        if step.activity is Activity.PACK and detail and size:
            whole = f"{detail} {'→' if self._unicode else '->'} {size}"
        return [Text.assemble(text, group) for text in (whole, size or detail)] + [Text(size or detail)]

    @staticmethod
    def _name_width(width: int) -> int:
        return min(_NAME, max(width - 60, 16))

    @staticmethod
    def _fraction(done: int, total: int) -> str:
        """Like `3.5 / 120.0 MB`: one unit for both where it is one."""
        part, whole = format_size(min(done, total)), format_size(total)
        number, _, unit = part.partition(" ")
        return f"{number} / {whole}" if whole.endswith(f" {unit}") else f"{part} / {whole}"

    def _mark(self, outcome: Outcome) -> tuple[str, str]:
        if outcome is Outcome.FAILED:
            return ("✗" if self._unicode else "x"), "red"
        if outcome in {Outcome.PRESENT, Outcome.MOUNTED, Outcome.REUSED}:
            return ("•" if self._unicode else "-"), "cyan"
        return ("✓" if self._unicode else "+"), "green"

    def _spin(self, now: float) -> str:
        return _SPINNER[int(now * REFRESHES) % len(_SPINNER)] if self._unicode else "|/-\\"[int(now * REFRESHES) % 4]

    def _bar(self, part: float, width: int) -> Text:
        filled = min(int(part * width), width)
        full, empty = ("━", "─") if self._unicode else ("=", "-")
        return Text.assemble((full * filled, "cyan"), (empty * (width - filled), "dim"))

    def _rate(self, watched: Watched, now: float) -> float:
        """Bytes a second of late."""
        samples = watched.samples
        samples.append((now, watched.done))
        while len(samples) > 2 and now - samples[0][0] > _WINDOW:
            samples.pop(0)
        (since, before), (until, after) = samples[0], samples[-1]
        return (after - before) / (until - since) if until - since > 0.5 else 0.0

    def _heed_termination(self) -> None:
        """Show the cursor again when the program is told to end: nothing else of it would run."""
        if current_thread() is main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._end)

    def _ignore_termination(self) -> None:
        if current_thread() is main_thread() and signal.getsignal(signal.SIGTERM) == self._end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - what a handler gets
        # No lock is taken, nor is anything drawn: whoever was interrupted may hold them.
        self._console.file.write("\r\x1b[?25h\n")
        self._console.file.flush()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
