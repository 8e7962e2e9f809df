"""Output rules.

1. stdout carries the answer and nothing else; stderr tells how it came about.
2. What is under way is shown by one Display: live on a terminal, plain lines without one, JSON when asked, or nothing.
3. No control character leaves for anything but a terminal, and none that somebody else wrote leaves at all.
4. A colour never says what the words don't. NO_COLOR is heeded before FORCE_COLOR, and that before the terminal.
5. Digests are whole wherever somebody may copy them.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, TypeVar

import click

from layerkit.cli.display import Display, JsonDisplay, PlainDisplay, QuietDisplay
from layerkit.cli.voice import ReaderGone, Voice, is_terminal, one_line, printable, wants_colour
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.manifest import Manifest
from layerkit.progress import Activity, Outcome, Step
from layerkit.sizes import format_size

T = TypeVar("T")

AUTO: Final = "auto"
MODES: Final = (AUTO, "rich", "plain", "json", "quiet")


def choose_mode(mode: str, environment: Mapping[str, str], *, on_terminal: bool) -> str:
    """What `auto` is: rich on a terminal that people watch, else plain. The others are what they are."""
    if mode != AUTO:
        return mode
    watched = on_terminal and environment.get("TERM") != "dumb" and environment.get("CI", "") in {"", "0", "false"}
    return "rich" if watched else "plain"


def choose_display(mode: str) -> Display:
    mode = choose_mode(mode, os.environ, on_terminal=is_terminal(sys.stderr))
    if mode == "quiet":
        return QuietDisplay()
    if mode == "json":
        return JsonDisplay()
    if mode == "rich":
        # Not at the top: it takes 50 ms to import, and most runs have no terminal.
        from layerkit.cli.live import LiveDisplay  # noqa: PLC0415

        return LiveDisplay(colour=wants_colour(os.environ, on_terminal=True))
    return PlainDisplay()


class Output:
    """What a command says. Within a command its display ends with it, however that ends."""

    def __init__(self, *, quiet: bool = False, progress: str = AUTO) -> None:
        self._mode = "quiet" if quiet else progress
        self._display: Display | None = None
        context = click.get_current_context(silent=True)
        if context is not None:
            context.call_on_close(self.close)
            if isinstance(context.obj, Voice):
                context.obj.speaker = self

    @property
    def display(self) -> Display:
        if self._display is None:
            self._display = choose_display(self._mode)
        return self._display

    def answer(self, text: str) -> None:
        """The result, for people and for scripts."""
        self.close(done=True)
        write_answer(text)

    def note(self, text: str) -> None:
        """What is happening."""
        self.display.note(printable(text))

    def expect(self, groups: Sequence[str]) -> None:
        """What steps will be for: of several each says which one it is for."""
        self.display.expect(groups)

    def warn(self, text: str) -> None:
        self.display.warn(printable(text))

    def error(self, text: str, hint: str = "", *, bare: bool = False) -> None:
        self.close()
        self.display.error(printable(text), printable(hint), bare=bare)

    def close(self, *, done: bool = False) -> None:
        """Leave the terminal as it was. With `done` all went well."""
        if self._display is not None:
            self._display.close(done=done)


class StepLog:
    """The Progress of some copies or a build: shows each step, and counts the copies for the summary.

    `verb` is what has happened to what was copied: `pushed`, `pulled`.
    """

    def __init__(self, output: Output, *, verb: str) -> None:
        self._output = output
        self._verb = verb
        self._counts = dict.fromkeys((Outcome.PRESENT, Outcome.MOUNTED, Outcome.COPIED), 0)
        self._bytes = 0

    def begin(self, step: Step) -> None:
        self._output.display.begin(step, self._verb)

    def advance(self, step: Step, count: int) -> None:
        self._output.display.advance(step, count)

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None = None, detail: str = "") -> None:
        if step.activity is Activity.COPY and outcome in self._counts:
            self._counts[outcome] += 1
            if outcome is Outcome.COPIED and step.descriptor is not None:
                self._bytes += step.descriptor.size
        self._output.display.end(step, outcome, descriptor or step.descriptor, detail)

    def summary(self) -> str:
        """Like `2 pushed (1.2 MB), 1 mounted, 3 present`."""
        parts = []
        if self._counts[Outcome.COPIED]:
            parts.append(f"{self._counts[Outcome.COPIED]} {self._verb} ({format_size(self._bytes)})")
        parts += [f"{n} {outcome}" for outcome, n in self._counts.items() if n and outcome is not Outcome.COPIED]
        return ", ".join(parts)


def output_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add `--progress` and `-q` to a command, which gets its Output as the keyword `output`."""

    @wraps(command)
    def run(*arguments: Any, progress: str, quiet: bool, **options: Any) -> T:
        return command(*arguments, output=Output(quiet=quiet, progress=progress), **options)

    run = click.option("-q", "--quiet", is_flag=True, help="Print the answer alone, and errors.")(run)
    return click.option(
        "--progress",
        type=click.Choice(MODES),
        default=AUTO,
        show_default=True,
        help="How to show what is under way; auto is rich on a terminal, else plain.",
    )(run)


format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print: text for people, or JSON of a shape that stays.",
)
"""`--format`, as the keyword `form`."""


def write_answer(text: str) -> None:
    """Write to stdout, of which the reader may have gone."""
    try:
        # Colours in it are there because they are wanted.
        click.echo(text, color=True)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from None
        raise OSError(error.errno, error.strerror, "stdout") from error


def format_json(value: object) -> str:
    """JSON for people and programs: indented, its keys in the order given."""
    import json  # noqa: PLC0415 - text is asked for more often

    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, AttributeError):
        # Names of files need be no UTF-8, nor need a terminal know it.
        return json.dumps(value, indent=2)
    return text


def format_manifest(name: str, manifest: Manifest, form: str) -> str:
    """What was moved: its digest, or with `form` json an object of `name`, `mediaType`, `digest` and `size`."""
    if form != "json":
        return manifest.digest
    found = manifest.descriptor
    return format_json({"name": name, "mediaType": found.media_type, "digest": found.digest, "size": found.size})


def format_rows(rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), gap: int = 2) -> list[str]:
    """Lines of aligned columns, whoever wrote what is in them; those numbered in `right` are aligned there. The last
    one is not padded."""
    table = [[one_line(cell) for cell in row] for row in rows]
    if not table:
        return []
    columns = max(map(len, table))
    widths = [max((len(row[n]) for row in table if n < len(row)), default=0) for n in range(columns)]
    to_right = frozenset(right)
    lines = []
    for row in table:
        cells = [
            cell.rjust(widths[n]) if n in to_right else cell.ljust(widths[n]) if n < columns - 1 else cell
            for n, cell in enumerate(row)
        ]
        lines.append((" " * gap).join(cells).rstrip())
    return lines
