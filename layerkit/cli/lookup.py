"""Finding the image that a command looks into: in the local store, else in its registry, or where it says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeVar

import click

from layerkit.build.headers import HeaderCache
from layerkit.cli.environment import Access, access_options, cache_folder, host_platform, open_registry, open_store
from layerkit.cli.output import Output, StepLog
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestUnknown
from layerkit.oci.platform import Platform, parse_platform
from layerkit.oci.reference import Reference, RepositoryName, Tag
from layerkit.oci.repository import Repository
from layerkit.view.image import Headers, ViewedImage, view_image

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Where to look, and for which platform, as the command line says."""

    platform: Platform | None
    remote: bool
    access: Access
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image that is there. `name` is what people call it."""

    name: str
    repository: Repository
    target: Tag | Digest


class _PlatformType(click.ParamType[Platform]):
    name = "platform"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Platform:
        if isinstance(value, Platform):
            return value
        try:
            return parse_platform(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_LOOK_OPTIONS: Final = (
    click.option("--platform", type=_PlatformType(), metavar="OS/ARCH[/VARIANT]", help="Which image of an index."),
    click.option("--remote", is_flag=True, help="Ask the registry, even if the local store has the image."),
)


def look_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add the options of `Look` to a command, which gets them as its keyword `look`."""

    @wraps(command)
    def run(*arguments: Any, platform: Platform | None, remote: bool, access: Access, **options: Any) -> T:
        headers = HeaderCache(folder=cache_folder())
        look = Look(platform=platform, remote=remote, access=access, headers=headers)
        return command(*arguments, look=look, **options)

    looking: Callable[..., T] = access_options(run)
    for option in reversed(_LOOK_OPTIONS):
        looking = option(looking)
    return looking


@asynccontextmanager
async def find_image(reference: Reference, look: Look) -> AsyncIterator[Found]:
    """The image of this name. Raises ManifestUnknown, and what its registry raises."""
    reference = reference.with_default_tag()
    name = reference.familiar()
    if not look.remote:
        local = open_store(look.access).repository(RepositoryName(reference.name))
        try:
            await local.stat_manifest(reference.target)
        except ManifestUnknown:
            pass
        else:
            yield Found(name=name, repository=local, target=reference.target)
            return
    async with open_registry(reference, look.access) as registry:
        yield Found(name=name, repository=registry.repository(reference.path), target=reference.target)


@asynccontextmanager
async def open_image(reference: Reference, look: Look, output: Output) -> AsyncIterator[ViewedImage]:
    """The one image, for one platform, that is to be looked into."""
    async with find_image(reference, look) as found:
        yield await view_image(
            found.repository,
            found.target,
            name=found.name,
            wanted=look.platform,
            host=host_platform(),
            headers=look.headers,
            progress=StepLog(output, verb="read"),
        )
