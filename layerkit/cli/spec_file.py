"""The spec file on the command line: which one it is, its variables and platforms."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from layerkit.build.folder import CacheFolder
from layerkit.build.program import stamp_of_program
from layerkit.cli.environment import PlatformType, cache_folder, host_platform, source_date_epoch
from layerkit.oci.platform import Platform
from layerkit.spec.load import DEFAULT_FILE, load_file
from layerkit.spec.model import SpecFile

F = TypeVar("F", bound=Callable[..., Any])

_MOST_FILES: Final = 1000
_MOST_BYTES: Final = 64 * 2**20
"""Of all specs together that are remembered; one of a hundred lines has about 10 kB."""

FILE_OPTION: Final = click.option(
    "-f", "--file", "path", default=DEFAULT_FILE, show_default=True, metavar="FILE", help="The build spec."
)
VARIABLE_OPTION: Final = click.option(
    "--var", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable of the spec's `vars:`."
)


def platform_option(purpose: str) -> Callable[[F], F]:
    """`--platform`, for a purpose like `Build for`."""
    return click.option(
        "--platform",
        "platforms",
        type=PlatformType(),
        multiple=True,
        metavar="OS/ARCH",
        help=f"{purpose} this platform; may be repeated. Replaces the spec's `platforms:`.",
    )


def open_spec(
    path: str, variables: tuple[str, ...], platforms: tuple[Platform, ...], *, is_cached: bool = True
) -> SpecFile:
    """The file at `path`, by what these options say; without `is_cached` it is read as if for the first time.

    Raises UsageError, DocumentError and OSError.
    """
    return load_file(
        path,
        variables=_parse_variables(variables),
        default_platform=host_platform(),
        platforms=platforms,
        source_date_epoch=source_date_epoch(),
        files=CacheFolder(
            folder=cache_folder() / "specs-1", most_files=_MOST_FILES, most_bytes=_MOST_BYTES, is_trusted=is_cached
        ),
        program=stamp_of_program(),
    )


def _parse_variables(variables: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--var {variable}: expected NAME=VALUE.")
        pairs[name] = value
    return pairs
