"""Watched: where the files are that a build reads, and which changes there are worth another build. Blocking."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from layerkit.build.filesystem import GLOB
from layerkit.build.ignore import IgnoreRules, parse_dockerignore
from layerkit.build.scan import DOCKERIGNORE
from layerkit.packages.errors import PackageError
from layerkit.spec.model import ArchiveBase, Copy, ImageSpec, LayoutBase, RootfsBase, Spec

_REPOSITORY: Final = ".git"
"""Each command of git writes there, and hardly any of it belongs into an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """`roots` are files and folders, whether they exist or not; `outputs` are what builds write. Paths are absolute."""

    context: str
    roots: frozenset[str]
    outputs: frozenset[str] = frozenset()
    dockerignore: str = ""
    _rules: IgnoreRules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            rules = parse_dockerignore(self.dockerignore)
        except ValueError:
            # The build tells of it.
            rules = IgnoreRules()
        object.__setattr__(self, "_rules", rules)

    def folders(self) -> frozenset[str]:
        """All folders in which something may change that counts, each for itself and not for those below."""
        found = {_nearest_folder(os.path.dirname(root)) for root in self.roots}
        for root in self.roots:
            for folder, names, _ in os.walk(root):
                found.add(folder)
                names[:] = [name for name in names if self._is_entered(os.path.join(folder, name))]
        return frozenset(found)

    def counts(self, path: str) -> bool:
        """Whether a change of `path` may change what is built."""
        if self._is_output(path):
            return False
        if any(path == root or _is_below(root, path) for root in self.roots):
            return True
        return any(_is_below(path, root) for root in self.roots) and not self._is_left_out(path)

    def _is_entered(self, folder: str) -> bool:
        if os.path.basename(folder) == _REPOSITORY or self._is_output(folder):
            return False
        relative = os.path.relpath(folder, self.context)
        return not self._rules.is_ignored(relative) or self._rules.may_contain_exceptions(relative)

    def _is_left_out(self, path: str) -> bool:
        relative = os.path.relpath(path, self.context)
        return _REPOSITORY in relative.split("/") or self._rules.is_ignored(relative)

    def _is_output(self, path: str) -> bool:
        """Whether builds write it, or what becomes of it in the end, whose name begins with a dot and this name."""
        return any(
            path == output
            or _is_below(path, output)
            or path.startswith(os.path.join(os.path.dirname(output), f".{os.path.basename(output)}."))
            for output in self.outputs
        )


def watched_by(images: Iterable[ImageSpec], path: Path, others: Iterable[Path], outputs: Iterable[Path]) -> Watched:
    """What builds of the spec at `path` read: that itself, what its images name, and `others`."""
    context = os.path.abspath(path.parent)
    ignore = Path(context, DOCKERIGNORE)
    found = {os.path.abspath(path), str(ignore), *(os.path.abspath(other) for other in others)}
    for image in images:
        for spec in image.specs:
            found.update(os.path.normpath(os.path.join(context, name)) for name in _names_of(spec))
    # A link may lead to another file.
    found |= {os.path.realpath(root) for root in found}
    try:
        text = ignore.read_text(errors="surrogateescape")
    except OSError:
        text = ""
    return Watched(
        context=context,
        roots=frozenset(found),
        outputs=frozenset(os.path.abspath(output) for output in outputs),
        dockerignore=text,
    )


def _names_of(spec: Spec) -> Iterator[str]:
    """Paths of this machine that a spec names, absolute or in its folder."""
    bases = [spec.base, *(copy.origin for layer in spec.layers for copy in layer.copies if isinstance(copy, Copy))]
    for base in bases:
        if isinstance(base, LayoutBase | ArchiveBase | RootfsBase):
            yield str(base.path)
    for layer in spec.layers:
        for copy in layer.copies:
            if isinstance(copy, Copy) and copy.origin is None:
                yield _fixed_part(copy.src)
        if layer.python is not None:
            yield from filter(None, (layer.python.lock, layer.python.project))
            yield from _requirements(layer.python.requirements, spec.context)
        if layer.apt is not None:
            keyrings = (layer.apt.keyring, *(mirror.keyring for mirror in layer.apt.mirrors))
            yield from (str(keyring) for keyring in keyrings if keyring is not None)


def _requirements(name: str, context: Path) -> Iterable[str]:
    """The file of this name and those that it includes."""
    if not name:
        return ()
    from layerkit.packages.python.requirements import load_requirements  # noqa: PLC0415 - few specs have wheels

    try:
        return (name, *load_requirements(context / name, context).files)
    except PackageError:
        return (name,)


def _fixed_part(source: str) -> str:
    """A path or glob, as far as no pattern is in it."""
    parts = os.path.normpath(source).split("/")
    first = next((number for number, part in enumerate(parts) if GLOB.search(part)), len(parts))
    return "/".join(parts[:first])


def _nearest_folder(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")
