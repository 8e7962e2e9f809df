"""`layerkit pull`."""

import asyncio

import click
import msgspec

from layerkit.cli.environment import Access, PlatformType, ReferenceType, access_options
from layerkit.cli.location import Transfer, open_source, write_to_store
from layerkit.cli.output import Output, StepLog, format_manifest, format_option, output_options
from layerkit.oci.manifest import Manifest
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference


@click.command(epilog="The digest of the image is printed on stdout, all else on stderr.")
@click.argument("reference", type=ReferenceType(), metavar="REF")
@click.option("--platform", type=PlatformType(), metavar="OS/ARCH[/VARIANT]", help="Only this image of an index.")
@click.option("--referrers", is_flag=True, help="Pull signatures and whatever else refers to the image, too.")
@access_options
@format_option
@output_options
def pull(
    reference: Reference, *, platform: Platform | None, referrers: bool, access: Access, form: str, output: Output
) -> None:
    """Pull an image, for all its platforms, into the local store.

    \b
    layerkit pull localhost:5000/hello:1
    layerkit pull localhost:5000/hello@sha256:...
    layerkit pull --platform linux/arm64 localhost:5000/hello:1
    """
    named = reference.with_default_tag()
    manifest = asyncio.run(_pull(named, platform, output, access, referrers=referrers))
    output.answer(format_manifest(str(named), manifest, form))


async def _pull(
    reference: Reference, platform: Platform | None, output: Output, access: Access, *, referrers: bool
) -> Manifest:
    log = StepLog(output, verb="pulled")
    output.note(f"pulling {reference}")
    async with open_source(reference, access, platform=platform) as source:
        # By its digest it has no tag here either.
        where = msgspec.structs.replace(reference, tag=None) if reference.digest else reference
        await write_to_store(source, where, Transfer(access=access, progress=log, referrers=referrers))
    output.note(f"pulled {reference}: {log.summary()}")
    return source.manifest
