"""Finding the image that a command looks into: in the local store, else in its registry, or where it says."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, cast

import click

from layerkit.build.headers import HeaderCache
from layerkit.cli.environment import (
    Access,
    PlatformType,
    ReferenceType,
    access_options,
    cache_folder,
    host_platform,
    open_registry,
    open_store,
)
from layerkit.cli.output import Output, StepLog
from layerkit.content.layout import Layout
from layerkit.content.listed import REF_NAME
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import ManifestUnknown, OCIError
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName, Tag, parse_reference, parse_tag_or_digest
from layerkit.oci.repository import Lister, Reader
from layerkit.view.image import Headers, Spools, ViewedImage, view_image

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from layerkit.spec.model import ArchiveBase, LayoutBase, StoreBase

T = TypeVar("T")

Where: TypeAlias = "Reference | StoreBase | LayoutBase | ArchiveBase"
_SCHEMES: Final = ("oci", "oci-archive", "docker-archive", "store", "tar", "docker-daemon", "containers-storage", "dir")
"""What begins so is a place, or a mistake. What reads places takes 0.3 s to import, and references are the usual."""
_PLACES: Final = "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF] or store:REF"
EPILOG: Final = f"An image is sought in the local store, then in its registry; or write {_PLACES}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Where to look, and for which platform, as the command line says."""

    platform: Platform | None
    remote: bool
    access: Access
    headers: Headers


class ReadRepository(Reader, Lister, Protocol):
    """What can be read and listed: an archive cannot be written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image that is there. `name` is what people call it, `full` its reference in full, where it has one."""

    name: str
    repository: ReadRepository
    target: Tag | Digest
    full: str = ""
    missed: bool = False
    """The local store does not have it, so that its registry is asked."""

    @contextmanager
    def sought(self) -> Iterator[None]:
        """Whoever mistyped the name of a local image hears of the local store, and not of a registry alone."""
        try:
            yield
        except OCIError as error:
            if not self.missed:
                raise
            raise OCIError(f"{self.name} is not in the local store; at its registry: {error.message}") from error


_LOOK_OPTIONS: Final = (
    click.option("--platform", type=PlatformType(), metavar="OS/ARCH[/VARIANT]", help="Which image of an index."),
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


class WhereType(click.ParamType[Where]):
    """An image on the command line: a reference, or a place that holds images, as in `from:` of a spec."""

    name = "image"

    def __init__(self, *, is_target: bool = False) -> None:
        self._reference = ReferenceType(is_target=is_target)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Where:
        if not isinstance(value, str):
            return cast("Where", value)
        if value.partition(":")[0] not in _SCHEMES and value != "scratch":
            return cast("Where", self._reference.convert(value, param, ctx))
        from layerkit.document.problem import InvalidValue  # noqa: PLC0415 - see _SCHEMES
        from layerkit.spec.bases import parse_base  # noqa: PLC0415
        from layerkit.spec.model import ArchiveBase, LayoutBase, StoreBase  # noqa: PLC0415

        try:
            found = parse_base(value)
        except InvalidValue as error:
            self.fail(f"{error.message}{f'; {error.hint}' if error.hint else ''}", param, ctx)
        if not isinstance(found, StoreBase | LayoutBase | ArchiveBase):
            self.fail(f"{value!r} is no image: write a reference, {_PLACES}", param, ctx)
        return found

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        return self._reference.shell_complete(ctx, param, incomplete)


@asynccontextmanager
async def find_image(where: Where, look: Look) -> AsyncIterator[Found]:
    """The image there. Raises ManifestUnknown, and what its registry, layout or archive raises."""
    if isinstance(where, Reference):
        async with _find_reference(where.with_default_tag(), look) as found:
            yield found
        return
    from layerkit.spec.model import LayoutBase, StoreBase  # noqa: PLC0415 - see _SCHEMES

    match where:
        case StoreBase(reference):
            reference = reference.with_default_tag()
            repository = open_store(look.access).repository(RepositoryName(reference.name))
            yield Found(name=f"store:{reference.familiar()}", repository=repository, target=reference.target)
        case LayoutBase(path, target):
            layout = Layout(path)
            name = f"oci:{path}{_suffix(target)}"
            chosen = target or _only(layout.entries(), name)
            yield Found(name=name, repository=layout.repository(RepositoryName("")), target=chosen)
        case _:
            async with _find_archived(where) as found:
                yield found


@asynccontextmanager
async def _find_reference(reference: Reference, look: Look) -> AsyncIterator[Found]:
    name = reference.familiar()
    if not look.remote:
        local = open_store(look.access).repository(RepositoryName(reference.name))
        try:
            await local.stat_manifest(reference.target)
        except ManifestUnknown:
            pass
        else:
            yield Found(name=name, repository=local, target=reference.target, full=str(reference))
            return
    async with open_registry(reference, look.access) as registry:
        repository = registry.repository(reference.path)
        yield Found(
            name=name,
            repository=repository,
            target=reference.target,
            full=str(reference),
            missed=not look.remote,
        )


@asynccontextmanager
async def _find_archived(where: "ArchiveBase") -> AsyncIterator[Found]:
    from layerkit.content.archive import open_archive  # noqa: PLC0415 - see _SCHEMES
    from layerkit.spec.model import ArchiveFormat  # noqa: PLC0415

    name = f"{where.format}:{where.path}{f':{where.reference}' if where.reference else ''}"
    async with open_archive(where.path) as archive:
        if where.reference is None:
            target: Tag | Digest = _only(archive.entries(), name)
            yield Found(name=name, repository=archive.repository(RepositoryName("")), target=target)
        elif where.format is ArchiveFormat.OCI:
            target = parse_tag_or_digest(where.reference)
            yield Found(name=name, repository=archive.repository(RepositoryName("")), target=target)
        else:
            reference = parse_reference(where.reference).with_default_tag()
            repository = archive.repository(RepositoryName(reference.name))
            yield Found(name=name, repository=repository, target=reference.target)


def _suffix(target: Tag | Digest | None) -> str:
    if target is None:
        return ""
    return f"@{target}" if isinstance(target, Digest) else f":{target}"


def _only(entries: Sequence[Descriptor], name: str) -> Digest:
    """The one image that a layout or archive has, under however many names."""
    # Those without a name are referrers of the others.
    digests = {entry.digest for entry in entries if entry.annotations} or {entry.digest for entry in entries}
    if len(digests) != 1:
        names = sorted(tag for entry in entries if (tag := entry.annotations.get(REF_NAME)))
        known = f": {', '.join(map(shorten, names))}" if names else ""
        raise ManifestUnknown(f"{name} holds {len(digests)} images: name one, {name}:TAG{known}")
    return digests.pop()


@asynccontextmanager
async def open_image(
    where: Where, look: Look, output: Output, spools: Spools | None = None
) -> AsyncIterator[ViewedImage]:
    """The one image, for one platform, that is to be looked into. `spools` are for layers that are read twice."""
    async with find_image(where, look) as found:
        with found.sought():
            viewed = await view_image(
                found.repository,
                found.target,
                name=found.name,
                wanted=look.platform,
                host=host_platform(),
                headers=look.headers,
                progress=StepLog(output, verb="read"),
                spools=spools,
            )
        yield viewed
