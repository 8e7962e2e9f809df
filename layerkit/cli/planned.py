"""What commands that look at a spec file share: which of its images they are about, and the builder that plans them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from layerkit.build.built import Prepared
from layerkit.cli.build import PlatformType, parse_variables
from layerkit.cli.environment import (
    Access,
    access_options,
    host_platform,
    make_builder,
    source_date_epoch,
)
from layerkit.cli.output import Output, StepLog
from layerkit.oci.platform import Platform
from layerkit.packages.lock import load_lock, lock_path
from layerkit.spec.load import DEFAULT_FILE, load_file
from layerkit.spec.model import ImageSpec

T = TypeVar("T")

_SPEC_OPTIONS: Final = (
    click.argument("names", nargs=-1, type=str, metavar="[IMAGE]..."),
    click.option(
        "-f", "--file", "path", default=DEFAULT_FILE, show_default=True, metavar="FILE", help="The build spec."
    ),
    click.option(
        "--platform",
        "platforms",
        type=PlatformType(),
        multiple=True,
        metavar="OS/ARCH",
        help="Only for this platform; may be repeated. Replaces the spec's `platforms:`.",
    ),
    click.option(
        "--var", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable of the spec's `vars:`."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
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
        file = load_file(
            path,
            variables=parse_variables(variables),
            default_platform=host_platform(),
            platforms=platforms,
            source_date_epoch=source_date_epoch(),
        )
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
