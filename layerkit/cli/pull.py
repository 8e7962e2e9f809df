"""`layerkit pull`."""

import asyncio

import click

from layerkit.cli.environment import Access, ReferenceType, access_options, open_registry, open_store
from layerkit.cli.output import Output, StepLog, output_options
from layerkit.oci.reference import Reference, RepositoryName
from layerkit.transfer import Copy


@click.command(epilog="The digest of the image is printed on stdout, all else on stderr.")
@click.argument("reference", type=ReferenceType(), metavar="REF")
@access_options
@output_options
def pull(reference: Reference, *, access: Access, output: Output) -> None:
    """Pull an image, for all its platforms, into the local store.

    \b
    layerkit pull localhost:5000/hello:1
    layerkit pull localhost:5000/hello@sha256:...
    """
    output.answer(asyncio.run(_pull(reference.with_default_tag(), output, access)))


async def _pull(reference: Reference, output: Output, access: Access) -> str:
    destination = open_store().repository(RepositoryName(reference.name))
    log = StepLog(output, verb="pulled")
    output.note(f"pulling {reference}")
    async with open_registry(reference, access) as registry:
        source = registry.repository(reference.path)
        manifest = await source.get_manifest(reference.target)
        tags = [reference.tag] if reference.tag and not reference.digest else []
        await Copy(source=source, destination=destination, progress=log).image(manifest, tags)
    output.note(f"pulled {reference}: {log.summary()}")
    return manifest.digest
