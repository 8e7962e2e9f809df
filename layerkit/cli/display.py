"""Displays: how what is under way is shown, on stderr. One room for all that does not need a terminal.

Calls come from the event loop and from threads alike, so each display has a lock. A display writes whole lines.
"""

import time
from collections.abc import Callable, Sequence
from threading import Event, RLock, Thread
from typing import Any, Final, Protocol

import msgspec

from layerkit.cli.voice import one_line, write_error, write_line
from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.progress import Activity, Outcome, Step
from layerkit.sizes import format_size

REMINDER: Final = 10.0
"""Seconds after which plain output says that a step still runs, and again each time."""
NOTICED: Final = 1.0
"""Seconds after which one wonders."""
REPORT: Final = 0.5
"""Seconds between two JSON lines on the bytes of one step, at least."""

_WORDS: Final = {
    Activity.INDEX: ("reading", "read"),
    Activity.FETCH: ("fetching", "fetched"),
    Activity.PACK: ("packing", "packed"),
}
_RUNNING: Final = {
    "pulled": "pulling",
    "pushed": "pushing",
    "copied": "copying",
    "written": "writing",
    "cached": "caching",
}


class Display(Protocol):
    """`verb` is what will have happened to what a step copies."""

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def error(self, text: str, hint: str, *, bare: bool) -> None: ...

    def expect(self, groups: Sequence[str]) -> None:
        """What steps will be for, where that is known before they begin."""

    def begin(self, step: Step, verb: str) -> None: ...

    def advance(self, step: Step, count: int) -> None: ...

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None, detail: str) -> None: ...

    def close(self, *, done: bool) -> None:
        """Nothing runs any more; `done` where all went well. Closing twice does no harm."""


class Watched(msgspec.Struct, kw_only=True):
    """A step that runs, as a display sees it: since when, and how many bytes are done."""

    step: Step
    verb: str
    begun: float
    done: int = 0
    told: float = 0.0
    """When it was last told of."""
    number: int = 0
    samples: list[tuple[float, int]] = msgspec.field(default_factory=list)

    @property
    def name(self) -> str:
        return name_of(self.step)

    @property
    def doing(self) -> str:
        """Like `pushing`."""
        return _WORDS[self.step.activity][0] if self.step.activity in _WORDS else _RUNNING.get(self.verb, self.verb)

    def done_as(self, outcome: Outcome) -> str:
        """Like `pushed`, `mounted`, `packed`."""
        if outcome in {Outcome.DONE, Outcome.COPIED}:
            return _WORDS[self.step.activity][1] if self.step.activity in _WORDS else self.verb
        return str(outcome)


def is_aside(watched: Watched, now: float) -> bool:
    """Whether nobody need hear that a step ended: that a layer was looked into tells nothing, unless it took long."""
    return watched.step.activity is Activity.INDEX and now - watched.begun < NOTICED


def name_of(step: Step) -> str:
    """What people call a step: its name, else what its content is, with as much of the digest as tells them apart."""
    if step.name or step.descriptor is None:
        return one_line(step.name)
    return f"{kind_of(step.descriptor)} {step.descriptor.digest.encoded[:12]}"


class QuietDisplay:
    """Errors alone."""

    def note(self, text: str) -> None:
        """Says nothing."""

    def warn(self, text: str) -> None:
        """Says nothing."""

    def error(self, text: str, hint: str, *, bare: bool) -> None:
        write_error(text, hint, bare=bare)

    def expect(self, groups: Sequence[str]) -> None:
        """Says nothing."""

    def begin(self, step: Step, verb: str) -> None:
        """Says nothing."""

    def advance(self, step: Step, count: int) -> None:
        """Says nothing."""

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None, detail: str) -> None:
        """Says nothing."""

    def close(self, *, done: bool) -> None:
        """Says nothing."""


class Ticker:
    """Calls `tick` each so many seconds, in a thread, until it is stopped."""

    def __init__(self, tick: Callable[[], None], seconds: float) -> None:
        self._stopped = Event()
        self._thread = Thread(target=self._run, args=(tick, seconds), daemon=True, name="display")
        self._thread.start()

    def _run(self, tick: Callable[[], None], seconds: float) -> None:
        while not self._stopped.wait(seconds):
            tick()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class PlainDisplay:
    """A line for each step that ended, and one now and then for each that does not."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, interval: float = REMINDER / 2) -> None:
        self._lock = RLock()
        self._clock = clock
        self._interval = interval
        self._running: dict[Step, Watched] = {}
        self._groups: set[str] = set()
        self._ticker: Ticker | None = None

    def note(self, text: str) -> None:
        with self._lock:
            write_line(text)

    def warn(self, text: str) -> None:
        self.note(f"warning: {text}")

    def error(self, text: str, hint: str, *, bare: bool) -> None:
        with self._lock:
            write_error(text, hint, bare=bare)

    def expect(self, groups: Sequence[str]) -> None:
        with self._lock:
            self._groups.update(groups)

    def begin(self, step: Step, verb: str) -> None:
        with self._lock:
            now = self._clock()
            self._running[step] = Watched(step=step, verb=verb, begun=now, told=now)
            self._groups.add(step.group)
            if self._ticker is None:
                self._ticker = Ticker(self.tick, self._interval)

    def advance(self, step: Step, count: int) -> None:
        with self._lock:
            self._running[step].done += count

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None, detail: str) -> None:
        with self._lock:
            watched = self._running.pop(step)
            if outcome in {Outcome.FAILED, Outcome.CANCELLED} or is_aside(watched, self._clock()):
                # Of a failure the error tells.
                return
            about = f"{one_line(step.name)}: {one_line(detail)}" if step.name and detail else one_line(step.name)
            word = f"{watched.done_as(outcome):<8} " if step.activity is not Activity.PACK else ""
            line = f"  {word}{format_descriptor(descriptor)}" if descriptor else f"  {word.rstrip()}"
            reused = " (reused)" if step.activity is Activity.PACK and outcome is Outcome.REUSED else ""
            self.note(f"{line}  {about}{reused}{self._group(step)}".rstrip())

    def tick(self) -> None:
        """Tell of each step that has not been told of for long."""
        with self._lock:
            now = self._clock()
            for watched in self._running.values():
                if now - watched.told >= REMINDER:
                    watched.told = now
                    size = format_done(watched.done, watched.step.total)
                    self.note(
                        f"  {watched.doing:<8} {watched.name}{': ' + size if size else ''} "
                        f"after {format_seconds(now - watched.begun)}{self._group(watched.step)}"
                    )

    def close(self, *, done: bool) -> None:  # noqa: ARG002 - it is all the same here
        with self._lock:
            ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.stop()

    def _group(self, step: Step) -> str:
        are_several = sum(map(bool, self._groups)) > 1
        return f"  [{one_line(step.group)}]" if step.group and are_several else ""


class JsonDisplay:
    """One JSON object a line, as docs/output.md says."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = RLock()
        self._clock = clock
        self._start = clock()
        self._running: dict[Step, Watched] = {}
        self._count = 0

    def note(self, text: str) -> None:
        self._write("note", text=text)

    def warn(self, text: str) -> None:
        self._write("warning", text=text)

    def error(self, text: str, hint: str, *, bare: bool) -> None:  # noqa: ARG002 - the event is the label
        self._write("error", text=text, **({"hint": hint} if hint else {}))

    def expect(self, groups: Sequence[str]) -> None:
        """Each step says what it is for."""

    def begin(self, step: Step, verb: str) -> None:
        with self._lock:
            self._count += 1
            now = self._clock()
            self._running[step] = Watched(step=step, verb=verb, begun=now, told=now, number=self._count)
            facts: dict[str, Any] = {"step": self._count, "activity": step.activity}
            facts |= {key: value for key, value in (("name", step.name), ("group", step.group)) if value}
            if step.total is not None:
                facts["total"] = step.total
            if step.descriptor is not None:
                facts["descriptor"] = _plain(step.descriptor)
            self._write("begin", **facts)

    def advance(self, step: Step, count: int) -> None:
        with self._lock:
            watched = self._running[step]
            watched.done += count
            now = self._clock()
            if now - watched.told >= REPORT:
                watched.told = now
                self._write("advance", step=watched.number, done=watched.done)

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None, detail: str) -> None:
        with self._lock:
            watched = self._running.pop(step)
            facts: dict[str, Any] = {"step": watched.number, "outcome": outcome, "done": watched.done}
            facts["seconds"] = round(self._clock() - watched.begun, 3)
            if descriptor is not None:
                facts["descriptor"] = _plain(descriptor)
            if detail:
                facts["detail"] = detail
            self._write("end", **facts)

    def close(self, *, done: bool) -> None:
        """Nothing is left to say."""

    def _write(self, event: str, **facts: Any) -> None:
        import json  # noqa: PLC0415 - as in `output`, text is asked for more often

        with self._lock:
            write_line(json.dumps({"event": event, "at": round(self._clock() - self._start, 3), **facts}))


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return decode_json(encode_json(descriptor.bare()), dict[str, Any])


def format_descriptor(descriptor: Descriptor) -> str:
    """Like `layer  1.2 MB  sha256:0123...`, with the digest whole: people copy it."""
    return f"{kind_of(descriptor):<8} {format_size(descriptor.size):>8}  {descriptor.digest}"


def kind_of(descriptor: Descriptor) -> str:
    """What content of this type is, in a word."""
    media_type = descriptor.media_type
    for word, kind in (("manifest.list", "index"), ("index", "index"), ("manifest", "manifest"), ("config", "config")):
        if word in media_type:
            return kind
    if "container.image" in media_type:
        return "config"
    return "layer" if "layer" in media_type or "rootfs" in media_type else "blob"


def format_done(done: int, total: int | None) -> str:
    """Like `34.5 MB of 120.0 MB`, or what there is of it."""
    if total:
        return f"{format_size(min(done, total))} of {format_size(total)}"
    return format_size(done) if done else ""


def format_seconds(seconds: float) -> str:
    """Like `0.4s`, `12s`, `3m05s`, `2h07m`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
