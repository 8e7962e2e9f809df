"""`layerkit push`."""

import asyncio

import click

from layerkit.cli.environment import Access, ReferenceType, access_options, open_registry, open_store
from layerkit.cli.output import Output, StepLog, output_options
from layerkit.content.layout import Layout
from layerkit.image.image import BASE_NAME
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName, parse_reference
from layerkit.transfer import Copy


@click.command(epilog="The digest of the image is printed on stdout, all else on stderr.")
@click.argument("reference", type=ReferenceType(), metavar="REF")
@access_options
@output_options
def push(reference: Reference, *, access: Access, output: Output) -> None:
    """Push an image of the local store to the registry that its name says.

    \b
    layerkit push localhost:5000/hello:1
    """
    output.answer(asyncio.run(push_image(open_store(access), reference.with_default_tag(), output, access)))


async def push_image(store: Layout, reference: Reference, output: Output, access: Access) -> Digest:
    """Push the image that the store has under this name; the answer is its digest."""
    source = store.repository(RepositoryName(reference.name))
    manifest = await source.get_manifest(reference.target)
    log = StepLog(output, verb="pushed")
    output.note(f"pushing {reference}")
    async with open_registry(reference, access) as registry:
        copy = Copy(
            source=source,
            destination=registry.repository(reference.path),
            origins=_origins(manifest, reference),
            progress=log,
        )
        await copy.image(manifest, [] if reference.digest else [reference.tag or DEFAULT_TAG])
    output.note(f"pushed {reference}: {log.summary()}")
    return manifest.digest


def _origins(manifest: Manifest, reference: Reference) -> dict[Digest, RepositoryName]:
    """Where the registry may have the layers already: in the repository of the image's base."""
    document = manifest.document
    base_name = (document.annotations or {}).get(BASE_NAME, "")
    if not isinstance(document, ImageManifest) or not base_name:
        return {}
    try:
        base = parse_reference(base_name)
    except OCIError:
        # Whoever made the image may have written anything there.
        return {}
    if base.domain != reference.domain or base.path == reference.path:
        return {}
    return {layer.digest: base.path for layer in document.layers or ()}
