"""`layerkit images`."""

import asyncio

import click

from layerkit.cli.environment import open_store
from layerkit.cli.output import Output
from layerkit.content.layout import Layout
from layerkit.oci.manifest import ImageIndex, Manifest
from layerkit.oci.reference import parse_reference
from layerkit.sizes import format_size


@click.command()
def images() -> None:
    """List the images of the local store: name, digest, and bytes as stored.

    \b
    layerkit images             all of them
    """
    rows = asyncio.run(_list(open_store()))
    width = max((len(name) for name, _, _ in rows), default=0)
    output = Output(quiet=False)
    for name, digest, size in rows:
        output.answer(f"{name:<{width}}  {digest}  {format_size(size):>8}")


async def _list(store: Layout) -> list[tuple[str, str, int]]:
    rows: list[tuple[str, str, int]] = []
    for name in (await store.list_repositories()).items:
        repository = store.repository(name)
        for tag in (await repository.list_tags()).items:
            manifest = await repository.get_manifest(tag)
            rows.append((parse_reference(f"{name}:{tag}").familiar(), manifest.digest, _size(store, manifest)))
    return rows


def _size(store: Layout, manifest: Manifest) -> int:
    """Bytes of all that a manifest refers to."""
    total = 0
    for descriptor in manifest.document.references():
        child = store.read_manifest(descriptor.digest) if isinstance(manifest.document, ImageIndex) else None
        total += _size(store, child) if child else descriptor.size
    return total
