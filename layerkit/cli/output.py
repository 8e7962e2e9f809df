"""Output rules: stdout carries the answer and nothing else, stderr whatever tells how it came about.

With --quiet stderr has errors alone. No colours yet, so NO_COLOR needs no heed.
"""

import click

from layerkit.oci.descriptor import Descriptor
from layerkit.transfer import Outcome, Transferred

_UNITS = ("B", "kB", "MB", "GB", "TB")


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


class TransferLog:
    """Notes each blob and manifest of a transfer, and counts them for the summary."""

    def __init__(self, output: Output, *, verb: str) -> None:
        self._output = output
        self._verb = verb
        self._counts = dict.fromkeys(Outcome, 0)
        self._bytes = 0

    def __call__(self, transferred: Transferred) -> None:
        self._counts[transferred.outcome] += 1
        outcome: str = transferred.outcome
        if transferred.outcome is Outcome.COPIED:
            self._bytes += transferred.descriptor.size
            outcome = self._verb
        self._output.note(f"  {outcome:<8} {format_descriptor(transferred.descriptor)}")

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


def format_size(size: float) -> str:
    """Bytes as `999 B`, `1.2 kB`, `34.5 MB`: units of 1000, as docker shows them."""
    if size < 1000:
        return f"{size:.0f} B"
    power = 1
    while size >= 999.95 * 1000**power and power < len(_UNITS) - 1:
        power += 1
    return f"{size / 1000**power:.1f} {_UNITS[power]}"
