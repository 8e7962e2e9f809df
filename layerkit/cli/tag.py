"""`layerkit tag`."""

import asyncio

import click

from layerkit.cli.environment import ReferenceType, open_store
from layerkit.cli.output import Output, output_options
from layerkit.oci.digest import Digest
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName


@click.command(epilog="The digest of the image is printed on stdout.")
@click.argument("source", type=ReferenceType(), metavar="REF")
@click.argument("names", type=ReferenceType(), metavar="NAME...", nargs=-1, required=True)
@output_options
def tag(source: Reference, names: tuple[Reference, ...], *, output: Output) -> None:
    """Give an image of the local store further names.

    \b
    layerkit tag web:1 registry.example/acme/web:1
    """
    for name in names:
        if name.digest is not None:
            raise click.UsageError(f"{name} names a digest: an image is given a tag.")
    output.answer(asyncio.run(_tag(source.with_default_tag(), names, output)))


async def _tag(source: Reference, names: tuple[Reference, ...], output: Output) -> Digest:
    store = open_store()
    manifest = await store.repository(RepositoryName(source.name)).get_manifest(source.target)
    for name in names:
        await store.repository(RepositoryName(name.name)).put_manifest(manifest, [name.tag or DEFAULT_TAG])
        output.note(f"tagged {name.with_default_tag()}")
    return manifest.digest
