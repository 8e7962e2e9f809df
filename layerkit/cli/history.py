"""`layerkit history`."""

import asyncio
from collections.abc import Iterator
from typing import Any

import click

from layerkit.cli.lookup import EPILOG, Look, Where, WhereType, look_options, open_image
from layerkit.cli.output import Output, format_json, format_option, output_options
from layerkit.cli.voice import one_line
from layerkit.oci.config import History
from layerkit.oci.descriptor import Descriptor
from layerkit.sizes import format_size
from layerkit.view.image import ViewedImage


@click.command(epilog=EPILOG)
@click.argument("image", type=WhereType(), metavar="REF")
@format_option
@look_options
@output_options
def history(image: Where, *, form: str, look: Look, output: Output) -> None:
    """Show how an image came about, the first step first, with the layer that each step made.

    \b
    layerkit history localhost:5000/hello:1
    layerkit history --format json debian:12 | jq -r '.steps[].created_by'
    """
    viewed = asyncio.run(_history(image, look, output))
    output.answer(format_json(_as_json(viewed)) if form == "json" else _as_text(viewed))


async def _history(image: Where, look: Look, output: Output) -> ViewedImage:
    async with open_image(image, look, output) as viewed:
        return viewed


def iter_steps(image: ViewedImage) -> Iterator[tuple[History, Descriptor | None]]:
    """Each step and its layer. Layers that the history knows nothing of come last."""
    layers = iter(image.layers)
    for step in image.config.history:
        yield step, None if step.empty_layer else next(layers, None)
    for layer in layers:
        yield History(), layer


def _as_text(image: ViewedImage) -> str:
    lines = []
    for number, (step, layer) in enumerate(iter_steps(image), 1):
        size = format_size(layer.size) if layer else "-"
        lines.append(
            f"{number:>3}  {one_line(step.created) or '-':<20}  {size:>8}  {layer.digest if layer else 'no layer'}"
        )
        told = one_line(" ".join(step.created_by.split()) or "(nothing is known of it)")
        lines.append(f"     {told}{f'  # {one_line(step.comment)}' if step.comment else ''}")
    lines.append(f"     {len(image.layers)} layers, {format_size(sum(layer.size for layer in image.layers))}")
    return "\n".join(lines)


def _as_json(image: ViewedImage) -> dict[str, Any]:
    """docs/output.md, "layerkit history"."""
    steps = []
    for step, layer in iter_steps(image):
        document: dict[str, Any] = {
            "created": step.created or None,
            "created_by": step.created_by,
            "comment": step.comment,
            "layer": None,
        }
        if layer is not None:
            document["layer"] = {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
        steps.append(document)
    return {
        "name": image.name,
        "digest": image.manifest.digest,
        "platform": str(image.config.platform),
        "steps": steps,
    }
