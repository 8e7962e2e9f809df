"""`layerkit cache`."""

import click

from layerkit.build.cached import RECORDS, Kind, free, measure
from layerkit.cli.environment import cache_folder
from layerkit.cli.output import Output, format_json, format_option, format_rows, output_options
from layerkit.sizes import format_size


@click.group()
def cache() -> None:
    """Look at what builds remember, and be rid of it. Nothing in the cache is needed: builds are faster with it.

    \b
    layerkit cache ls
    layerkit cache prune
    """


@cache.command(name="ls")
@format_option
@output_options
def list_cache(*, form: str, output: Output) -> None:
    """Show what is cached, by kind: which layers were made of which files and of what content, headers of base
    layers, root file systems, downloads.

    \b
    layerkit cache ls --format json
    """
    found = measure(cache_folder())
    if form == "json":
        output.answer(format_json({str(kind): {"files": of.files, "size": of.size} for kind, of in found.items()}))
        return
    rows = [
        ("KIND", "FILES", "SIZE"),
        *((str(kind), str(of.files), format_size(of.size)) for kind, of in found.items()),
    ]
    output.answer("\n".join(format_rows(rows, right=(1, 2))))


@cache.command(name="prune")
@click.option("--downloads", is_flag=True, help="Free downloads too, which builds that are running may need.")
@format_option
@output_options
def prune_cache(*, downloads: bool, form: str, output: Output) -> None:
    """Free what is cached. Images stay: `layerkit prune` frees those that have no name.

    \b
    layerkit cache prune --downloads
    """
    freed = free(cache_folder(), tuple(Kind) if downloads else RECORDS)
    if form == "json":
        output.answer(format_json({"files": freed.files, "size": freed.size}))
    else:
        files = "1 file" if freed.files == 1 else f"{freed.files} files"
        output.answer(f"freed {format_size(freed.size)}: {files}")
