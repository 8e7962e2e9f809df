"""What is said on stderr, for which nothing that takes long may be imported: errors, and whether in colour."""

import sys
from collections.abc import Mapping
from typing import Any, Protocol

import click


class ReaderGone(Exception):
    """Nobody reads stdout any more, as behind `| head`: what is left to do is to end."""


class Speaker(Protocol):
    """Who knows how the user wants to hear of errors, once a command runs."""

    def warn(self, text: str) -> None: ...

    def error(self, text: str, hint: str = "", *, bare: bool = False) -> None: ...


class Voice:
    """How an error is told: by the output of the command that ends with it, so that JSON stays JSON, else plainly."""

    def __init__(self) -> None:
        self.speaker: Speaker | None = None

    def error(self, text: str, hint: str = "", *, bare: bool = False) -> None:
        """With `bare` the text begins with its place, like `layerkit.yaml:2:1: `, and needs no label."""
        if self.speaker is not None:
            self.speaker.error(text, hint, bare=bare)
        else:
            write_error(printable(text), printable(hint), bare=bare)

    def warn(self, text: str) -> None:
        if self.speaker is not None:
            self.speaker.warn(text)
        else:
            write_line(f"{label('warning', 'yellow', colour=False)} {printable(text)}")


def write_error(text: str, hint: str = "", *, bare: bool = False, colour: bool = False) -> None:
    """`error: ...`, and below it `hint: ...` where there is one."""
    write_line(text if bare else f"{label('error', 'red', colour=colour)} {text}")
    if hint:
        write_line(f"{label('hint', 'cyan', colour=colour)} {hint}")


def label(word: str, hue: str, *, colour: bool) -> str:
    return click.style(f"{word}:", fg=hue, bold=True) if colour else f"{word}:"


def write_line(text: str) -> None:
    """A line on stderr. Whether somebody hears it is no matter: a closed one stops no work."""
    try:
        click.echo(text, err=True, color="\x1b" in text)
    except UnicodeEncodeError:
        click.echo(text.encode("ascii", "backslashreplace").decode(), err=True)
    except (OSError, ValueError):
        pass


def printable(text: str) -> str:
    """What others wrote must not reach a terminal as anything but text. Lines stay lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """The same of what is a part of a line: nobody's name may look like a line of ours."""
    return printable(text).replace("\n", "\ufffd")


def wants_colour(environment: Mapping[str, str], *, on_terminal: bool) -> bool:
    """Sources: no-color.org, force-color.org, bixense.com/clicolors."""
    if environment.get("NO_COLOR"):
        return False
    if any(environment.get(name, "") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return on_terminal and environment.get("TERM") != "dumb" and environment.get("CLICOLOR") != "0"


def is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        # It is closed, or was never open.
        return False


def forgive_encodings() -> None:
    """Let a terminal that cannot show a character show its number: no name of a file ends a program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
