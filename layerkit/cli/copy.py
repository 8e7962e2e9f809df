"""`layerkit copy`."""

import asyncio

import click

from layerkit.cli.environment import Access, PlatformType, access_options
from layerkit.cli.location import Transfer, open_source, write_image
from layerkit.cli.lookup import Where, WhereType
from layerkit.cli.output import Output, StepLog, format_json, format_option, output_options
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference


@click.command(
    epilog="SRC and DST are REF (of a registry), store:REF, oci:DIR[:TAG], oci-archive:FILE[:TAG] or "
    "docker-archive:FILE[:REF]. The digest is printed on stdout, all else on stderr."
)
@click.argument("source", type=WhereType(), metavar="SRC")
@click.argument("destination", type=WhereType(is_target=True), metavar="DST")
@click.option("--platform", type=PlatformType(), metavar="OS/ARCH[/VARIANT]", help="Only this image of an index.")
@click.option(
    "--referrers/--no-referrers",
    default=None,
    help="Copy signatures and whatever else refers to the image, too; so it is, but for docker-archive.",
)
@access_options
@format_option
@output_options
def copy(
    source: Where,
    destination: Where,
    *,
    platform: Platform | None,
    referrers: bool | None,
    access: Access,
    form: str,
    output: Output,
) -> None:
    """Copy an image, for all its platforms, from one place to another, byte for byte.

    \b
    layerkit copy registry.example/web:1 localhost:5000/web:1
    layerkit copy registry.example/web:1 oci-archive:web.tar
    layerkit copy docker-archive:saved.tar store:web:1
    layerkit copy --platform linux/arm64 store:web:1 oci:out
    """
    if referrers is None:
        referrers = isinstance(destination, Reference) or getattr(destination, "format", "") != "docker-archive"
    digest, size, media_type, names = asyncio.run(
        _copy(source, destination, platform, output, access=access, referrers=referrers)
    )
    if form == "json":
        found = {"source": names[0], "destination": names[1], "mediaType": media_type, "digest": digest, "size": size}
        output.answer(format_json(found))
    else:
        output.answer(digest)


async def _copy(
    source: Where, destination: Where, platform: Platform | None, output: Output, *, access: Access, referrers: bool
) -> tuple[str, int, str, tuple[str, str]]:
    log = StepLog(output, verb="copied")
    async with open_source(source, access, platform=platform) as found:
        output.note(f"copying {found.label}")
        place = await write_image(found, destination, Transfer(access=access, progress=log, referrers=referrers))
    output.note(f"copied to {place}: {log.summary()}")
    manifest = found.manifest
    return manifest.digest, len(manifest.raw), manifest.media_type, (found.label, place)
