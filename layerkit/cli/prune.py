"""`layerkit prune`."""

import time

import click

from layerkit.cli.environment import open_store
from layerkit.cli.output import Output, format_json, format_option, output_options
from layerkit.content.collect import prune as prune_store
from layerkit.sizes import format_size


@click.command()
@format_option
@output_options
def prune(*, form: str, output: Output) -> None:
    """Free what no named image of the local store needs: images without a name, layers of builds that failed, and
    what broken downloads have left. What a build that is running needs stays.

    \b
    layerkit prune --format json
    """
    freed = prune_store(open_store(), now=time.time())
    if form == "json":
        output.answer(format_json({"manifests": freed.manifests, "blobs": freed.blobs, "size": freed.size}))
    else:
        output.answer(f"freed {format_size(freed.size)}: {freed.manifests} manifests, {freed.blobs} blobs")
