"""`layerkit build --check-repro`: the same build once more, in a process and in conditions of its own, and compared.

The second build has an empty store and cache, another umask, time zone, locale and hash seed, reads folders backwards
and compresses in one thread. What a spec takes from the local store is copied into that of the second.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from layerkit.build.builder import Builder
from layerkit.cli.environment import Access
from layerkit.content.layout import Layout
from layerkit.oci.reference import DEFAULT_TAG, RepositoryName
from layerkit.spec.model import Copy as CopyItem
from layerkit.spec.model import ImageSpec, StoreBase
from layerkit.transfer import Copy

CONDITIONS: Final[Mapping[str, str]] = {
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "C",
    "LANG": "C",
    "PYTHONHASHSEED": "4711",
}
_UMASK: Final = 0o077


def find_differences(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """In what two builds of the same images differ; each is what `--format json` says of the images."""
    for one, other in zip(first, second, strict=True):
        if one["digest"] == other["digest"]:
            continue
        found = list(_differences_of_platforms(one, other))
        yield from found or [f"{one['name']}: the same images, but its index is {one['digest']} and {other['digest']}"]


def _differences_of_platforms(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for left, right in zip(one["platforms"], other["platforms"], strict=True):
        if left["digest"] == right["digest"]:
            continue
        place = f"{one['name']} for {left['platform']}"
        found = list(_differences_of_layers(place, left["layers"], right["layers"]))
        yield from found or [
            f"{place}: the same layers, but its config or manifest differs: {left['digest']} and {right['digest']}"
        ]


def _differences_of_layers(
    place: str, left: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    if len(left) != len(right):
        yield f"{place}: {len(left)} layers, and {len(right)} the second time"
        return
    for one, other in zip(left, right, strict=True):
        if one["diffId"] != other["diffId"]:
            yield f"{place}: layer {one['name']} has other content: diff_id {one['diffId']} and {other['diffId']}"
        elif one["digest"] != other["digest"]:
            # LAYERS, item 39.
            yield (
                f"{place}: layer {one['name']}: same content, different compressor ({one['codec']}, "
                f"{other['codec']}): digest {one['digest']} and {other['digest']}"
            )


async def build_again(
    builder: Builder, selected: Sequence[ImageSpec], arguments: Sequence[str], access: Access
) -> list[Mapping[str, Any]]:
    """What `--format json` says of the images that `layerkit build` makes of these arguments, elsewhere."""
    with tempfile.TemporaryDirectory(prefix="layerkit-repro-") as folder:
        data = Path(folder) / "data"
        await _bring_bases(builder, selected, data / "layerkit/store")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "layerkit",
            "build",
            "--second-time",
            "-q",
            "--format",
            "json",
            *arguments,
            *access_arguments(access),
            env={
                **os.environ,
                **CONDITIONS,
                "XDG_DATA_HOME": str(data),
                "XDG_CACHE_HOME": str(Path(folder) / "cache"),
            },
            umask=_UMASK,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            answer, told = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode != 0:
        raise click.ClickException(
            f"the second build failed, where the first did not:\n{told.decode(errors='replace').rstrip()}"
        )
    images: list[Mapping[str, Any]] = json.loads(answer)["images"]
    return images


async def _bring_bases(builder: Builder, selected: Sequence[ImageSpec], folder: Path) -> None:
    """The second build has a store of its own, and finds there what specs ask of ours."""
    folder.parent.mkdir(parents=True)
    store = Layout(folder, create=True)
    for base in _store_bases(selected):
        name = RepositoryName(base.reference.name)
        source = builder.store.repository(name)
        manifest = await source.get_manifest(base.reference.target)
        tags = [] if base.reference.digest else [base.reference.tag or DEFAULT_TAG]
        await Copy(source=source, destination=store.repository(name)).image(manifest, tags)


def _store_bases(selected: Sequence[ImageSpec]) -> list[StoreBase]:
    specs = [spec for image in selected for spec in image.specs]
    copies = [copy for spec in specs for layer in spec.layers for copy in layer.copies]
    found = [*(spec.base for spec in specs), *(copy.origin for copy in copies if isinstance(copy, CopyItem))]
    return list(dict.fromkeys(base for base in found if isinstance(base, StoreBase)))


def access_arguments(access: Access) -> list[str]:
    given = {"--ca": access.ca, "--cert": access.certificate, "--key": access.key, "--authfile": access.authfile}
    arguments = [text for option, path in given.items() if path is not None for text in (option, str(path))]
    return [*arguments, "--insecure"] if access.insecure else arguments
