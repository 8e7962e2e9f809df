"""`layerkit push`."""

import asyncio

import click

from layerkit.cli.environment import Access, ReferenceType, access_options, open_registry, open_store
from layerkit.cli.location import StoreOrigins
from layerkit.cli.output import Output, StepLog, format_manifest, format_option, output_options
from layerkit.content.store import Store
from layerkit.oci.manifest import Manifest
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName
from layerkit.transfer import Copy


@click.command(epilog="The digest of the image is printed on stdout, all else on stderr.")
@click.argument("reference", type=ReferenceType(is_target=True), metavar="REF")
@access_options
@format_option
@output_options
def push(reference: Reference, *, access: Access, form: str, output: Output) -> None:
    """Push an image of the local store to the registry that its name says.

    \b
    layerkit push localhost:5000/hello:1
    """
    named = reference.with_default_tag()
    manifest = asyncio.run(push_image(open_store(access), named, output, access))
    output.answer(format_manifest(str(named), manifest, form))


async def push_image(store: Store, reference: Reference, output: Output, access: Access) -> Manifest:
    """Push the image that the store has under this name, with what refers to it."""
    source = store.repository(RepositoryName(reference.name))
    manifest = await source.get_manifest(reference.target)
    log = StepLog(output, verb="pushed")
    output.note(f"pushing {reference}")
    async with open_registry(reference, access) as registry:
        copy = Copy(
            source=source,
            destination=registry.repository(reference.path),
            origins=StoreOrigins(store, reference),
            progress=log,
        )
        await copy.with_referrers(manifest, [] if reference.digest else [reference.tag or DEFAULT_TAG])
    output.note(f"pushed {reference}: {log.summary()}")
    return manifest
