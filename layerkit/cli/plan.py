"""`layerkit plan`."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import click

from layerkit.build.built import Prepared
from layerkit.build.inputs import name_base
from layerkit.build.planned import PlannedLayer
from layerkit.cli.output import Output, format_json, format_option, format_rows, output_options
from layerkit.cli.planned import Chosen, spec_options
from layerkit.layer.entry import ROOT, Entry, EntryType
from layerkit.sizes import format_size
from layerkit.view.files import format_mode


@click.command()
@spec_options
@click.option("--layer", "only", multiple=True, metavar="NAME", help="Only this layer; may be repeated.")
@click.option("--strict", is_flag=True, help="Refuse what may keep an image from working, and is a warning otherwise.")
@format_option
@output_options
def plan(*, chosen: Chosen, only: tuple[str, ...], strict: bool, form: str, output: Output) -> None:
    """Show what a build would write: each file's destination, owner and mode by layer, and where it comes from.

    Files are looked at and not read, and nothing is written.

    \b
    layerkit plan                                all images of ./layerkit.yaml
    layerkit plan web --layer app                one layer of one image
    layerkit plan --platform linux/arm64 --format json | jq '.images[].layers[].size'
    """
    prepared = asyncio.run(chosen.prepare(output, is_strict=strict))
    known = list(dict.fromkeys(layer.name for one in prepared for layer in one.plan.layers))
    for name in only:
        if name not in known:
            raise click.UsageError(f"--layer {name}: no such layer; there are {', '.join(known) or 'none'}")
    if form == "json":
        output.answer(format_json({"images": [_as_json(one, only) for one in prepared]}))
    else:
        output.answer("\n\n".join("\n".join(_as_text(one, only)) for one in prepared))


def _layers(one: Prepared, only: Sequence[str]) -> list[PlannedLayer]:
    return [layer for layer in one.plan.layers if not only or layer.name in only]


def _as_text(one: Prepared, only: Sequence[str]) -> Iterator[str]:
    spec = one.spec
    digest = f" {one.base.digest}" if one.base.digest else ""
    yield f"{spec.name} for {spec.platform}, on {name_base(spec.base)}{digest}"
    layers = _layers(one, only)
    for layer in layers:
        yield ""
        yield f"{layer.name}: {layer.summary}"
        yield from (f"  {line}" for line in format_rows([_row(layer, entry) for entry in layer.entries], right={2}))
    yield ""
    files, size = sum(layer.files for layer in layers), sum(layer.size for layer in layers)
    yield f"{_count(len(layers), 'layer')}, {_count(files, 'file')}, {format_size(size)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _row(layer: PlannedLayer, entry: Entry) -> tuple[str, ...]:
    source = layer.provenance.get(entry.path)
    # Folders that are there for the sake of what is in them come from nowhere.
    origin = f"<- {source.source}" if source and source.source else ""
    if entry.type is EntryType.WHITEOUT:
        return "removed", "", "", _path(entry), origin
    extra = "+" if entry.xattrs else ""
    size = format_size(entry.size) if entry.type is EntryType.FILE else ""
    path = _path(entry) + (f" -> {entry.link}" if entry.type is EntryType.SYMLINK else "")
    return f"{format_mode(entry.type, entry.mode)}{extra}", f"{entry.uid}:{entry.gid}", size, path, origin


def _path(entry: Entry) -> str:
    if entry.path == ROOT:
        return "/"
    if entry.type is EntryType.WHITEOUT:
        parent, slash, name = entry.path.rpartition("/")
        return f"/{parent}{slash}{name.removeprefix('.wh.')}"
    return f"/{entry.path}/" if entry.type is EntryType.DIRECTORY else f"/{entry.path}"


def _as_json(one: Prepared, only: Sequence[str]) -> dict[str, Any]:
    """docs/output.md, "layerkit plan"."""
    return {
        "name": one.spec.name,
        "platform": str(one.spec.platform),
        "base": {"name": name_base(one.spec.base), "digest": one.base.digest},
        "layers": [
            {
                "name": layer.name,
                "files": layer.files,
                "size": layer.size,
                "entries": [_entry_as_json(layer, entry) for entry in layer.entries],
            }
            for layer in _layers(one, only)
        ],
        "warnings": list(one.plan.warnings),
    }


def _entry_as_json(layer: PlannedLayer, entry: Entry) -> dict[str, Any]:
    source = layer.provenance.get(entry.path)
    document: dict[str, Any] = {
        "path": _path(entry).rstrip("/") or "/",
        "type": str(entry.type),
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": entry.mtime,
        "source": source.source if source else None,
        "position": str(source.position) if source else None,
    }
    if entry.type in {EntryType.SYMLINK, EntryType.HARDLINK}:
        document["target"] = entry.link
    if entry.xattrs:
        document["xattrs"] = [name for name, _ in entry.xattrs]
    return document
