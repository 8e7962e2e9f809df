"""Progress: what is being worked on and how far it is, told while it happens. Pure.

Whoever works tells a Progress of its steps; whoever shows them (a terminal, a log, nobody) implements it. Nothing here
formats, counts or decides. Calls come from the event loop and from threads alike, so an implementation must bear both.
"""

from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from layerkit.oci.descriptor import Descriptor


class Activity(StrEnum):
    """What is done in a step."""

    INDEX = "index"
    """The headers of a base's layer are read."""
    FETCH = "fetch"
    """Something that a spec names by its URL is downloaded."""
    PACK = "pack"
    """A layer is written: read, compressed and digested in one pass."""
    COPY = "copy"
    """A blob or manifest is brought to another repository."""


class Outcome(StrEnum):
    """What became of a step."""

    DONE = "done"
    REUSED = "reused"
    """A cache had the result."""
    PRESENT = "present"
    """The destination had it."""
    MOUNTED = "mounted"
    """The destination's registry had it in another repository."""
    COPIED = "copied"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """It was given up, most often since another step failed: that one tells why."""


class Step(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One thing that is worked on. Steps are told apart by identity.

    `name` is what people call it (a layer's name, a URL's last part), `total` the bytes that there are to do where
    that is known, `descriptor` the content where that exists already, `group` the image and platform it is for.
    """

    activity: Activity
    name: str = ""
    group: str = ""
    total: int | None = None
    descriptor: Descriptor | None = None


class Progress(Protocol):
    def begin(self, step: Step) -> None: ...

    def advance(self, step: Step, count: int) -> None:
        """`count` more bytes are done."""

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None = None, detail: str = "") -> None:
        """`descriptor` is of what the step made, `detail` a few words for people. Every begun step ends once."""


class _Silent:
    def begin(self, step: Step) -> None:
        """Shows nothing."""

    def advance(self, step: Step, count: int) -> None:
        """Shows nothing."""

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None = None, detail: str = "") -> None:
        """Shows nothing."""


SILENT: Final[Progress] = _Silent()
"""For work that nobody watches."""


class Running(msgspec.Struct):
    """A step that is under way. What stands here when its block ends well is told as its end."""

    step: Step
    progress: Progress
    outcome: Outcome = Outcome.DONE
    descriptor: Descriptor | None = None
    detail: str = ""

    def advance(self, count: int) -> None:
        self.progress.advance(self.step, count)


@contextmanager
def running(progress: Progress, step: Step) -> Iterator[Running]:
    """Begin a step, and end it however its block ends."""
    progress.begin(step)
    run = Running(step, progress)
    try:
        yield run
    except (CancelledError, KeyboardInterrupt):
        progress.end(step, Outcome.CANCELLED)
        raise
    except BaseException:
        progress.end(step, Outcome.FAILED)
        raise
    progress.end(step, run.outcome, run.descriptor, run.detail)
