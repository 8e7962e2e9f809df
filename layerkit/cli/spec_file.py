"""The spec file on the command line: which one it is, its variables and platforms."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from layerkit.cli.environment import PlatformType, host_platform, source_date_epoch
from layerkit.oci.platform import Platform
from layerkit.spec.load import DEFAULT_FILE, load_file
from layerkit.spec.model import SpecFile

F = TypeVar("F", bound=Callable[..., Any])

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


def open_spec(path: str, variables: tuple[str, ...], platforms: tuple[Platform, ...]) -> SpecFile:
    """The file at `path`, by what these options say. Raises UsageError, DocumentError and OSError."""
    return load_file(
        path,
        variables=_parse_variables(variables),
        default_platform=host_platform(),
        platforms=platforms,
        source_date_epoch=source_date_epoch(),
    )


def _parse_variables(variables: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--var {variable}: expected NAME=VALUE.")
        pairs[name] = value
    return pairs
