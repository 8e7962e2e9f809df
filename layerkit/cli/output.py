"""Output rules: stdout carries the answer and nothing else, stderr whatever tells how it came about.

With --quiet stderr has errors alone. No colours yet, so NO_COLOR needs no heed.
"""

import click

from layerkit.oci.descriptor import Descriptor
from layerkit.progress import Activity, Outcome, Step
from layerkit.sizes import format_size


class Output:
    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def answer(self, text: str) -> None:
        """The result, for people and for scripts."""
        click.echo(text)

    def note(self, text: str) -> None:
        """What is happening."""
        if not self._quiet:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        self.note(f"warning: {text}")


class StepLog:
    """The Progress of plain output: a line for each step that ended, and the counts of the copies for the summary."""

    def __init__(self, output: Output, *, verb: str) -> None:
        self._output = output
        self._verb = verb
        self._counts = dict.fromkeys((Outcome.PRESENT, Outcome.MOUNTED, Outcome.COPIED), 0)
        self._bytes = 0

    def begin(self, step: Step) -> None:
        """Says nothing yet."""

    def advance(self, step: Step, count: int) -> None:
        """Says nothing yet."""

    def end(self, step: Step, outcome: Outcome, descriptor: Descriptor | None = None, detail: str = "") -> None:
        descriptor = descriptor or step.descriptor
        if descriptor is None or outcome in {Outcome.FAILED, Outcome.CANCELLED}:
            # The error tells.
            return
        if step.activity is not Activity.COPY:
            self._output.note(f"  {format_descriptor(descriptor)}  {step.name}: {detail}")
            return
        self._counts[outcome] += 1
        if outcome is Outcome.COPIED:
            self._bytes += descriptor.size
        word = self._verb if outcome is Outcome.COPIED else outcome
        self._output.note(f"  {word:<8} {format_descriptor(descriptor)}")

    def summary(self) -> str:
        """Like `2 pushed (1.2 MB), 1 mounted, 3 present`."""
        parts = []
        if self._counts[Outcome.COPIED]:
            parts.append(f"{self._counts[Outcome.COPIED]} {self._verb} ({format_size(self._bytes)})")
        parts += [f"{n} {outcome}" for outcome, n in self._counts.items() if n and outcome is not Outcome.COPIED]
        return ", ".join(parts)


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
