"""`layerkit ls`."""

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any

import click

from layerkit.cli.lookup import EPILOG, Look, Where, WhereType, look_options, open_image
from layerkit.cli.output import Output, format_json, format_option, format_rows, output_options
from layerkit.cli.voice import one_line
from layerkit.layer.entry import EntryType
from layerkit.sizes import format_size
from layerkit.view.files import File, format_mode, iter_folder, resolve_path
from layerkit.view.image import ViewedImage


@click.command(epilog=EPILOG)
@click.argument("image", type=WhereType(), metavar="REF")
@click.argument("path", default="/", required=False)
@click.option("-l", "--long", "is_long", is_flag=True, help="With mode, owner, size, time and link target.")
@click.option("-R", "--recursive", is_flag=True, help="With all that is below.")
@format_option
@look_options
@output_options
def ls(image: Where, path: str, *, is_long: bool, recursive: bool, form: str, look: Look, output: Output) -> None:
    """List the files of an image, as its layers make them together: of the local store, else of its registry.

    PATH is a folder or a file in the image, `/` by default. Nothing is unpacked.

    \b
    layerkit ls debian:12 /etc                          what is in a folder
    layerkit ls -lR localhost:5000/hello:1              everything, with modes and owners
    layerkit ls --format json hello:1 /srv | jq .       for programs (docs/output.md)
    """
    viewed, files = asyncio.run(_ls(image, path, look, output, recursive=recursive))
    if form == "json":
        output.answer(format_json(as_json(viewed, path, files)))
    elif files:
        below = "" if recursive else None
        output.answer("\n".join(_long(files) if is_long else [_name(file, below) for file in files]))


async def _ls(
    image: Where, path: str, look: Look, output: Output, *, recursive: bool
) -> tuple[ViewedImage, list[File]]:
    async with open_image(image, look, output) as viewed:
        tree = await viewed.tree()
        found = resolve_path(tree, path, image=viewed.name)
        if found.type is not EntryType.DIRECTORY:
            return viewed, [found]
        return viewed, await asyncio.to_thread(lambda: list(iter_folder(tree, found.path, recursive=recursive)))


def _name(file: File, below: str | None) -> str:
    name = file.shown if below is not None else file.path.rpartition("/")[2]
    return one_line(f"{name}/" if file.type is EntryType.DIRECTORY else name)


def _long(files: list[File]) -> list[str]:
    rows = []
    for file in files:
        entry = file.entry
        arrow = f" -> {entry.link}" if file.type is EntryType.SYMLINK else ""
        if file.hardlink:
            arrow = f" = /{file.hardlink}"
        is_device = file.type in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}
        size = f"{entry.device[0]},{entry.device[1]}" if is_device else format_size(file.size)
        rows.append(
            (
                format_mode(file.type, entry.mode) + ("+" if entry.xattrs else " "),
                f"{entry.uid}:{entry.gid}",
                size if file.type is not EntryType.DIRECTORY else "-",
                format_time(entry.mtime),
                one_line(file.shown + ("/" if file.type is EntryType.DIRECTORY else "") + arrow),
            )
        )
    return format_rows(rows, right={2})


def format_time(seconds: int) -> str:
    """Like `2024-05-06 07:08`, in UTC. Headers can have times that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def as_json(image: ViewedImage, path: str, files: list[File]) -> dict[str, Any]:
    """docs/output.md, "layerkit ls"."""
    return {
        "name": image.name,
        "digest": image.manifest.digest,
        "platform": str(image.config.platform),
        "path": "/" + path.strip("/"),
        "files": [file_as_json(image, file) for file in files],
    }


def file_as_json(image: ViewedImage, file: File) -> dict[str, Any]:
    entry = file.entry
    document: dict[str, Any] = {
        "path": file.shown,
        "type": str(file.type),
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": file.size,
        "mtime": entry.mtime,
        "layer": image.layers[file.origin.layer].digest if image.layers else None,
    }
    if file.type is EntryType.SYMLINK:
        document["target"] = entry.link
    if file.hardlink:
        document["hardlink"] = f"/{file.hardlink}"
    if entry.xattrs:
        document["xattrs"] = {name: base64.b64encode(value).decode() for name, value in entry.xattrs}
    if file.type in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}:
        document["device"] = list(entry.device)
    return document
