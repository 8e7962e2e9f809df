"""`layerkit build -o` and `--load`: where images go beside the local store, as layouts, archives, into engines."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from layerkit.build.built import BuildResult
from layerkit.cli.location import steps_of
from layerkit.cli.output import Output, StepLog
from layerkit.cli.results import Attached
from layerkit.content.export import NamedImage, plan_export, write_archive
from layerkit.content.layout import Layout
from layerkit.content.store import Store
from layerkit.document.problem import InvalidValue
from layerkit.oci.digest import Digest
from layerkit.oci.platform import Platform
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName, Tag, parse_reference
from layerkit.spec.bases import parse_base
from layerkit.spec.model import ArchiveBase, ArchiveFormat, LayoutBase
from layerkit.transfer import Copy

_EXPECTED: Final = "expected oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]"

References = Mapping[RepositoryName, tuple[Reference, ...]]
"""The names that each image is to have, by what the spec calls it."""


@dataclass(frozen=True, slots=True)
class Place:
    """One `-o`, as `text` says."""

    text: str
    where: LayoutBase | ArchiveBase


def parse_place(text: str) -> Place:
    if text.partition(":")[0] not in {"oci", *ArchiveFormat}:
        raise click.UsageError(f"-o {text}: {_EXPECTED}.")
    try:
        where = parse_base(text)
    except InvalidValue as error:
        raise click.UsageError(f"-o {text}: {error.message}{f'; {error.hint}' if error.hint else ''}.") from error
    if not isinstance(where, LayoutBase | ArchiveBase):
        raise click.UsageError(f"-o {text}: {_EXPECTED}.")
    if isinstance(where.reference, Digest) or (where.reference or "").startswith("sha256:"):
        raise click.UsageError(f"-o {text}: an image that is yet to be built has a tag alone; {_EXPECTED}.")
    return Place(text, where)


async def write_place(
    store: Store,
    place: Place,
    results: Sequence[BuildResult],
    references: References,
    attached: Attached,
    host: Platform,
    output: Output,
) -> None:
    """Write all images there, with what is attached to them, for which a docker archive has no place. An archive is
    replaced as a whole, of a layout only what has the same name."""
    source = store.repository(RepositoryName(""))
    names = {result.spec.name: _names(place, references[result.spec.name]) for result in results}
    if isinstance(place.where, ArchiveBase):
        images = [NamedImage(manifest=result.manifest, names=names[result.spec.name]) for result in results]
        if place.where.format is ArchiveFormat.OCI:
            images += [NamedImage(manifest=manifest) for manifests in attached.values() for manifest in manifests]
        await write_archive(place.where.path, await plan_export(source, images, host))
        output.note(f"written to {place.where.format}:{place.where.path}")
        return
    layout = Layout(place.where.path, create=True)
    for result in results:
        for reference in names[result.spec.name]:
            tag = reference.tag or DEFAULT_TAG
            destination = layout.repository(RepositoryName(reference.name))
            copy = Copy(source=source, destination=destination)
            await copy.image(result.manifest, [tag])
            for manifest in (each for image in result.images for each in attached.get(image.manifest.digest, ())):
                await copy.image(manifest)
            output.note(f"written to oci:{place.where.path}:{tag}")


def _names(place: Place, references: tuple[Reference, ...]) -> tuple[Reference, ...]:
    wanted = place.where.reference
    if wanted is None:
        return references
    if isinstance(place.where, ArchiveBase) and place.where.format is ArchiveFormat.DOCKER:
        return (parse_reference(wanted).with_default_tag(),)
    return (parse_reference(f"{references[0].name}:{Tag(wanted)}"),)


async def load_results(
    store: Store, results: Sequence[BuildResult], references: References, host: Platform, output: Output
) -> None:
    """Load all images, under their names, into the engine that runs here."""
    from layerkit.engine import find_engine  # noqa: PLC0415 - the HTTP client takes 0.3 s to import

    engine = find_engine(os.environ, shutil.which)
    images = [NamedImage(manifest=result.manifest, names=tuple(references[result.spec.name])) for result in results]
    export = await plan_export(store.repository(RepositoryName("")), images, host)
    with steps_of(StepLog(output, verb="loaded")) as advance:
        loaded = await engine.load(export, advance=advance)
    output.note(f"loaded into {engine.name}" if loaded else f"{engine.name} has it")
