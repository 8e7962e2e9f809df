"""`layerkit load`."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import click

from layerkit.cli.environment import ReferenceType, open_store
from layerkit.cli.output import Output, StepLog, output_options
from layerkit.content.archive import Archive, open_archive
from layerkit.content.layout import Layout
from layerkit.content.listed import REF_NAME, full_name
from layerkit.content.store import Store
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.errors import OCIError
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName, has_explicit_domain, parse_reference
from layerkit.progress import Progress
from layerkit.transfer import Copy


@click.command(epilog="The names of the images are printed on stdout, of those without one the digest.")
@click.option(
    "-i",
    "--input",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    default="-",
    metavar="FILE",
    help="An archive, or the folder of a layout; by default stdin.",
)
@click.option("-t", "--tag", "name", type=ReferenceType(), metavar="REF", help="Name the one image that it holds.")
@output_options
def load(*, path: Path, name: Reference | None, output: Output) -> None:
    """Load the images of an archive into the local store: of one that layerkit, docker, podman, skopeo or ctr wrote.

    \b
    layerkit load -i web.tar
    docker save web:1 | layerkit load
    layerkit load -i web.tar -t registry.example/acme/web:1
    """
    if str(path) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("Name the archive with -i FILE, or send it to stdin.")
        with tempfile.NamedTemporaryFile() as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.flush()
            try:
                names = asyncio.run(_load(Path(spool.name), "stdin", name, output))
            except OCIError as error:
                # The file has another name to us than to whoever sent it.
                raise OCIError(error.message.replace(spool.name, "stdin"), details=error.details) from error
    else:
        names = asyncio.run(_load(path, str(path), name, output))
    output.answer("\n".join(names))


async def _load(path: Path, label: str, name: Reference | None, output: Output) -> list[str]:
    store = open_store()
    log = StepLog(output, verb="loaded")
    output.note(f"loading {label}")
    if await asyncio.to_thread(path.is_dir):
        names = await _load_all(Layout(path), store, name, log, label)
    else:
        async with open_archive(path) as archive:
            names = await _load_all(archive, store, name, log, label)
    output.note(f"loaded {label}: {log.summary()}")
    return names


async def _load_all(
    listing: Layout | Archive, store: Store, name: Reference | None, log: Progress, label: str
) -> list[str]:
    source = listing.repository(RepositoryName(""))
    entries = listing.entries()
    if not entries:
        raise OCIError(f"{label} holds no image")
    if name is not None:
        images = {entry.digest: entry for entry in entries if entry.annotations} or {e.digest: e for e in entries}
        if len(images) != 1:
            raise click.UsageError(f"-t names one image, and {label} holds {len(images)}.")
    loaded: dict[str, None] = {}
    for entry in entries:
        manifest = await source.get_manifest(entry.digest)
        reference = name if name is not None and entry.digest in images else _name_of(entry)
        destination = store.repository(RepositoryName(reference.name if reference else ""))
        tags = [reference.tag or DEFAULT_TAG] if reference else []
        await Copy(source=source, destination=destination, progress=log).image(manifest, tags)
        if reference or manifest.document.subject is None:
            loaded[str(reference.with_default_tag()) if reference else manifest.digest] = None
    return list(loaded)


def _name_of(entry: Descriptor) -> Reference | None:
    """The whole name; some programs write it where others have the tag alone."""
    name, tag = full_name(entry)
    text = f"{name}:{tag}" if name and tag else entry.annotations.get(REF_NAME, "")
    try:
        return parse_reference(text) if name or has_explicit_domain(text) else None
    except OCIError:
        return None
