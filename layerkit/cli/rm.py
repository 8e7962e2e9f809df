"""`layerkit rm`."""

import asyncio

import click

from layerkit.cli.environment import Access, ReferenceType, access_options, open_registry, open_store
from layerkit.cli.output import Output, output_options
from layerkit.content.collect import Collected, remove
from layerkit.oci.reference import DEFAULT_TAG, Reference
from layerkit.sizes import format_size


@click.command(epilog="What was removed is printed on stdout, all else on stderr.")
@click.argument("references", type=ReferenceType(), metavar="REF...", nargs=-1, required=True)
@click.option("--remote", is_flag=True, help="Remove at the registry, and not in the local store.")
@access_options
@output_options
def rm(references: tuple[Reference, ...], *, remote: bool, access: Access, output: Output) -> None:
    """Remove images from the local store, by tag or by digest. What no other image shares is freed at once.

    With --remote a tag is taken from the image, and a digest removes the image with all its tags.

    \b
    layerkit rm web:1 web:2
    layerkit rm web@sha256:...
    layerkit rm --remote registry.example/acme/web:1
    """
    named = [reference.with_default_tag() for reference in references]
    if remote:
        asyncio.run(_remove_remote(named, output, access))
    else:
        store = open_store(access)
        freed = Collected()
        for reference in named:
            freed += remove(store, reference)
            output.note(f"removed {reference}")
        output.note(f"freed {format_size(freed.size)}")
    output.answer("\n".join(map(str, named)))


async def _remove_remote(references: list[Reference], output: Output, access: Access) -> None:
    for reference in references:
        async with open_registry(reference, access) as registry:
            repository = registry.repository(reference.path)
            if reference.digest is not None:
                await repository.delete_manifest(reference.digest)
            else:
                await repository.delete_tag(reference.tag or DEFAULT_TAG)
        output.note(f"removed {reference} from {reference.domain}")
