"""What commands that look at a spec file share: which of its images they are about, and the builder that plans them."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from layerkit.build.built import Prepared
from layerkit.cli.environment import (
    Access,
    access_options,
    make_builder,
)
from layerkit.cli.output import Output, StepLog
from layerkit.cli.spec_file import FILE_OPTION, VARIABLE_OPTION, open_spec, platform_option
from layerkit.oci.platform import Platform
from layerkit.packages.lock import load_lock, lock_path
from layerkit.spec.model import ImageSpec

T = TypeVar("T")

_SPEC_OPTIONS: Final = (
    click.argument("names", nargs=-1, type=str, metavar="[IMAGE]..."),
    FILE_OPTION,
    platform_option("Only for"),
    VARIABLE_OPTION,
)


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The images of the file at `path` that a command is about. `images` has those that they need as well, before
    them; `names` are of those that were meant."""

    path: Path
    images: tuple[ImageSpec, ...]
    names: frozenset[str]
    access: Access

    async def prepare(
        self, output: Output, *, is_readable: bool = False, is_strict: bool = False
    ) -> Sequence[Prepared]:
        """Those that were meant, planned, and their warnings told."""
        lock = load_lock(lock_path(self.path))
        builder = make_builder(self.access, StepLog(output, verb="pulled"), lock=lock, is_strict=is_strict)
        prepared = await builder.prepare(self.images, is_readable=is_readable)
        meant = [one for one in prepared if one.spec.name in self.names]
        for warning in dict.fromkeys(warning for one in meant for warning in one.plan.warnings):
            output.warn(warning)
        return meant


def spec_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add the images, the file and what belongs to it to a command, which gets them as its keyword `chosen`."""

    @wraps(command)
    def run(
        *,
        names: tuple[str, ...],
        path: str,
        platforms: tuple[Platform, ...],
        variables: tuple[str, ...],
        access: Access,
        **options: Any,
    ) -> T:
        file = open_spec(path, variables, platforms)
        chosen = Chosen(
            path=Path(path),
            images=file.select(names),
            names=frozenset(names or [image.name for image in file.images]),
            access=access,
        )
        return command(chosen=chosen, **options)

    choosing: Callable[..., T] = access_options(run)
    for option in reversed(_SPEC_OPTIONS):
        choosing = option(choosing)
    return choosing
