"""`layerkit save`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from layerkit.cli.environment import PlatformType, ReferenceType, host_platform, open_store
from layerkit.cli.location import named, steps_of
from layerkit.cli.output import Output, StepLog, output_options
from layerkit.content.export import NamedImage, plan_export, write_archive
from layerkit.image.select import choose_platform
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.manifest import ImageIndex
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName
from layerkit.transfer import iter_referrers


@click.command()
@click.argument("references", type=ReferenceType(), metavar="REF...", nargs=-1, required=True)
@click.option(
    "-o", "--output", "path", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The file."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["oci", "docker"]),
    default="oci",
    show_default=True,
    help="The file is of both; docker refuses images that docker could not load.",
)
@click.option("--platform", type=PlatformType(), metavar="OS/ARCH[/VARIANT]", help="Only these images of indexes.")
@click.option("--referrers", is_flag=True, help="Save signatures and whatever else refers to the images, too.")
@output_options
def save(
    references: tuple[Reference, ...],
    *,
    path: Path,
    form: str,
    platform: Platform | None,
    referrers: bool,
    output: Output,
) -> None:
    """Save images of the local store to one archive, which docker, podman, skopeo, ctr and `layerkit load` read.

    \b
    layerkit save web:1 -o web.tar
    layerkit save web:1 api:1 -o all.tar
    """
    asyncio.run(_save([each.with_default_tag() for each in references], path, form, platform, output, referrers))


async def _save(
    references: Sequence[Reference], path: Path, form: str, platform: Platform | None, output: Output, referrers: bool
) -> None:
    store = open_store()
    source = store.repository(RepositoryName(""))
    images: dict[str, NamedImage] = {}
    for reference in references:
        manifest = await store.repository(RepositoryName(reference.name)).get_manifest(reference.target)
        if platform is not None and isinstance(manifest.document, ImageIndex):
            chosen = choose_platform(manifest.document, platform, name=str(reference))
            manifest = await source.get_manifest(chosen.digest)
        known = images.get(manifest.digest)
        name = named(reference, None) if reference.tag else None
        names = (*(known.names if known else ()), *((name,) if name else ()))
        images[manifest.digest] = NamedImage(manifest=manifest, names=names)
    named_images = list(images.values())
    if referrers:
        for image in images.values():
            named_images += [NamedImage(manifest=each) async for each in iter_referrers(source, image.manifest)]
    export = await plan_export(source, named_images, host_platform())
    if form == "docker" and len(export.saved) < len(images):
        raise ManifestInvalid("docker could not load all of these images: some are no images, or not complete")
    log = StepLog(output, verb="saved")
    output.note(f"saving {', '.join(map(str, references))}")
    with steps_of(log) as advance:
        await write_archive(path, export, advance=advance)
    output.note(f"saved to {path}: {log.summary()}")
