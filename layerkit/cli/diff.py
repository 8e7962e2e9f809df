"""`layerkit diff`."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Any

import click

from layerkit.cli.lookup import EPILOG, Look, Where, WhereType, look_options, open_image
from layerkit.cli.ls import file_as_json, format_time
from layerkit.cli.output import Output, format_json, format_option, format_rows, output_options
from layerkit.cli.voice import is_terminal, one_line, wants_colour
from layerkit.layer.entry import EntryType
from layerkit.oci.descriptor import Descriptor
from layerkit.sizes import format_size
from layerkit.view.diff import Aspect, FileChange, ImageDiff, Setting, diff_images
from layerkit.view.files import format_mode
from layerkit.view.image import Spools

_COLOURS = {"+": "green", "-": "red", "~": "yellow"}


@click.command(epilog=EPILOG)
@click.argument("before", type=WhereType(), metavar="A")
@click.argument("after", type=WhereType(), metavar="B")
@click.option("--all", "every", is_flag=True, help="Name each file of a folder that is new or gone as a whole.")
@click.option("--times", is_flag=True, help="A file that differs in its time alone differs, too.")
@click.option("--exit-code", is_flag=True, help="End with 1 where there are differences.")
@format_option
@look_options
@output_options
def diff(
    before: Where,
    after: Where,
    *,
    every: bool,
    times: bool,
    exit_code: bool,
    form: str,
    look: Look,
    output: Output,
) -> None:
    """Show what is different in image B: files, config, history, packages and layers.

    Packages are those that dpkg, apk and Python list. With --platform the images for it are compared.

    \b
    layerkit diff web:1.4.1 web:1.4.2
    layerkit diff --remote localhost:5000/web:1 localhost:5000/web:2
    layerkit diff --format json web:1 web:2 | jq -r '.files[].path'
    """
    found = asyncio.run(_diff(before, after, look, output, times=times))
    if form == "json":
        output.answer(format_json(_as_json(found)))
    else:
        colour = wants_colour(os.environ, on_terminal=is_terminal(sys.stdout))
        output.answer("\n".join(paint(line, colour=colour) for line in _as_text(found, every=every)))
    if exit_code and not found.is_empty:
        raise click.exceptions.Exit(1)


async def _diff(before: Where, after: Where, look: Look, output: Output, *, times: bool) -> ImageDiff:
    with Spools() as spools:
        async with open_image(before, look, output, spools) as old, open_image(after, look, output, spools) as new:
            return await diff_images(old, new, times=times)


def paint(line: str, *, colour: bool) -> str:
    return click.style(line, fg=_COLOURS[line[2]]) if colour and line[:2] == "  " and line[2:3] in _COLOURS else line


def _as_text(found: ImageDiff, *, every: bool) -> Iterator[str]:
    old, new = found.before, found.after
    yield f"{old.name}  {old.manifest.digest}  {old.config.platform}"
    yield f"{new.name}  {new.manifest.digest}  {new.config.platform}"
    if found.is_empty:
        yield ""
        yield "the same files, config and history" if old.manifest.digest != new.manifest.digest else "the same image"
    yield from _section("files", list(_files(found.files, every=every)), _count_files(found.files))
    yield from _section("config", list(settings_as_text(found.settings)))
    yield from _section("packages", list(_packages(found)))
    yield from _section("history", [*_marked("-", found.history[0]), *_marked("+", found.history[1])])
    yield from _section("layers", list(_layers(found)))


def _section(title: str, lines: Sequence[str], summary: str = "") -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}{f': {summary}' if summary else ''}"
        yield from (one_line(f"  {line}") for line in lines)


def _marked(mark: str, texts: Iterable[str]) -> list[str]:
    return [f"{mark} {' '.join(text.split())}" for text in texts]


def _count_files(changes: Sequence[FileChange]) -> str:
    added = sum(change.before is None for change in changes)
    removed = sum(change.after is None for change in changes)
    grown = sum(change.grown for change in changes)
    counts = (("added", added), ("removed", removed), ("changed", len(changes) - added - removed))
    return ", ".join([*(f"{count} {word}" for word, count in counts if count), format_growth(grown)])


def format_growth(size: int) -> str:
    return f"{'-' if size < 0 else '+'}{format_size(abs(size))}"


def _files(changes: Sequence[FileChange], *, every: bool) -> list[str]:
    rows = []
    place = 0
    while place < len(changes):
        change = changes[place]
        place += 1
        file = change.after or change.before
        if file is None:
            continue
        mark = "~" if change.before and change.after else "+" if change.after else "-"
        if mark == "~" or file.type is not EntryType.DIRECTORY:
            growth = format_growth(change.grown) if change.grown else ""
            rows.append((f"{mark} {file.shown}", growth, _aspects(change)))
            continue
        # What is below a folder that is new or gone is new or gone as well.
        below = [] if every else list(takewhile(_is_below(f"{change.path}/"), islice(changes, place, None)))
        place += len(below)
        if below:
            count = sum((other.after or other.before or file).type is not EntryType.DIRECTORY for other in below)
            growth = format_growth(sum(other.grown for other in below))
            rows.append((f"{mark} {file.shown}/", growth, "1 file" if count == 1 else f"{count} files"))
        else:
            rows.append((f"{mark} {file.shown}/", "", ""))
    return format_rows(rows, right={1})


def _is_below(folder: str) -> Callable[[FileChange], bool]:
    return lambda change: change.path.startswith(folder)


def _aspects(change: FileChange) -> str:
    """Like `content, mode 0644 -> 0755`."""
    if change.before is None or change.after is None:
        file = change.after or change.before
        return f"-> {file.entry.link}" if file and file.type is EntryType.SYMLINK else ""
    old, new = change.before.entry, change.after.entry
    told = {
        Aspect.TYPE: f"{old.type} -> {new.type}",
        Aspect.CONTENT: "",
        Aspect.LINK: f"{old.link} -> {new.link}",
        Aspect.MODE: f"{format_mode(old.type, old.mode)} -> {format_mode(new.type, new.mode)}",
        Aspect.OWNER: f"{old.uid}:{old.gid} -> {new.uid}:{new.gid}",
        Aspect.XATTRS: "",
        Aspect.TIME: f"{format_time(old.mtime)} -> {format_time(new.mtime)}",
    }
    return ", ".join(f"{aspect} {told[aspect]}".strip() for aspect in change.aspects)


def settings_as_text(settings: Iterable[Setting]) -> Iterator[str]:
    for setting in settings:
        name = setting.path.removeprefix("config.")
        if setting.before is None:
            yield f"+ {name} {_value(setting.after)}"
        elif setting.after is None:
            yield f"- {name} {_value(setting.before)}"
        else:
            yield f"~ {name} {_value(setting.before)} -> {_value(setting.after)}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _packages(found: ImageDiff) -> list[str]:
    rows = []
    for change in found.packages:
        mark = "+" if change.before is None else "-" if change.after is None else "~"
        versions = " -> ".join(version for version in (change.before, change.after) if version is not None)
        rows.append((f"{mark} {change.name}", versions, change.kind))
    return format_rows(rows)


def _layers(found: ImageDiff) -> Iterator[str]:
    layers = found.layers
    if layers.before or layers.after:
        for mark, descriptors in (("=", layers.shared), ("-", layers.before), ("+", layers.after)):
            yield from (f"{mark} {format_size(layer.size):>8}  {layer.digest}" for layer in descriptors)


def _as_json(found: ImageDiff) -> dict[str, Any]:
    """docs/output.md, "layerkit diff"."""
    images = {
        side: {"name": image.name, "digest": image.manifest.digest, "platform": str(image.config.platform)}
        for side, image in (("before", found.before), ("after", found.after))
    }
    return {
        **images,
        "files": [_file_as_json(found, change) for change in found.files],
        "config": [
            {"path": setting.path, "before": setting.before, "after": setting.after} for setting in found.settings
        ],
        "packages": [
            {"kind": change.kind, "name": change.name, "before": change.before, "after": change.after}
            for change in found.packages
        ],
        "history": {"before": list(found.history[0]), "after": list(found.history[1])},
        "layers": {
            "shared": [_descriptor(layer) for layer in found.layers.shared],
            "before": [_descriptor(layer) for layer in found.layers.before],
            "after": [_descriptor(layer) for layer in found.layers.after],
        },
    }


def _file_as_json(found: ImageDiff, change: FileChange) -> dict[str, Any]:
    kind = "changed" if change.before and change.after else "added" if change.after else "removed"
    return {
        "path": f"/{change.path}",
        "change": kind,
        "aspects": [str(aspect) for aspect in change.aspects],
        "before": file_as_json(found.before, change.before) if change.before else None,
        "after": file_as_json(found.after, change.after) if change.after else None,
    }


def _descriptor(layer: Descriptor) -> dict[str, Any]:
    return {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
