"""`layerkit build --cache-from` and `--cache-to`: caches in registries. What is wrong with one is a warning: the build
does without."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import click

from layerkit.build.built import BuildResult
from layerkit.build.shared import SharedLayers, layers_of, write_shared
from layerkit.cli.environment import Access, ReferenceType, open_registry
from layerkit.cli.location import StoreOrigins
from layerkit.cli.output import Output, StepLog
from layerkit.content.store import Store
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestUnknown, NameUnknown, OCIError
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName
from layerkit.transfer import Copy, Origins


def parse_caches(option: str, texts: Iterable[str]) -> list[Reference]:
    """The references of `--cache-from` and `--cache-to`: each option may have several, with commas between them."""
    parse = ReferenceType(is_target=True)
    found = []
    for text in (part.strip() for given in texts for part in given.split(",")):
        try:
            reference = parse.convert(text, None, None)
        except click.BadParameter as error:
            raise click.UsageError(f"{option}: {error.message}") from error
        if option == "--cache-to" and reference.digest is not None:
            raise click.UsageError(f"{option}: {text} names a digest; a cache is written to a tag.")
        found.append(reference.with_default_tag())
    return found


@asynccontextmanager
async def open_caches(
    store: Store, references: Sequence[Reference], output: Output, access: Access
) -> AsyncIterator[SharedLayers]:
    """The caches of these names, as far as they can be read."""
    shared = SharedLayers(store)
    async with AsyncExitStack() as stack:
        for reference in references:
            registry = await stack.enter_async_context(open_registry(reference, access))
            try:
                count = await shared.read(reference, registry.repository(reference.path))
            except (ManifestUnknown, NameUnknown):
                output.warn(f"there is no cache {reference} yet")
            except OCIError as error:
                output.warn(f"the cache {reference} is not used: {error.message}")
            else:
                output.note(f"cache {reference}: {count} {'layer' if count == 1 else 'layers'}")
        yield shared


async def write_caches(
    store: Store,
    references: Sequence[Reference],
    built: Sequence[BuildResult],
    pushed: Iterable[Reference],
    output: Output,
    access: Access,
) -> None:
    """Write all layers that were built to the caches of these names. The registries of `pushed` have them already."""
    layers = layers_of(built)
    places = {reference.domain: reference.path for reference in pushed}
    for reference in references:
        log = StepLog(output, verb="cached")
        try:
            async with open_registry(reference, access) as registry:
                copy = Copy(
                    source=store.repository(RepositoryName("")),
                    destination=registry.repository(reference.path),
                    origins=_origins(store, reference, places),
                    progress=log,
                )
                is_new = await write_shared(layers, copy, reference.tag or DEFAULT_TAG)
        except OCIError as error:
            output.warn(f"the cache {reference} is not written: {error.message}")
        else:
            output.note(f"cached to {reference}: {log.summary()}" if is_new else f"the cache {reference} is as it was")


@dataclass(frozen=True, slots=True)
class _Pushed:
    """All layers were just pushed to this repository."""

    name: RepositoryName

    def get(self, digest: Digest, /) -> RepositoryName | None:  # noqa: ARG002 - whichever it is
        return self.name


def _origins(store: Store, reference: Reference, places: Mapping[str, RepositoryName]) -> Origins:
    place = places.get(reference.domain)
    if place is not None and place != reference.path:
        return _Pushed(place)
    return StoreOrigins(store, reference)
