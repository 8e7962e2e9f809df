"""`layerkit explain`."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import click

from layerkit.build.built import Prepared
from layerkit.build.explain import (
    ExplainedLayer,
    Explainer,
    Explanation,
    InputChange,
    LayerState,
    Subject,
    Verdict,
    subject_of_plan,
)
from layerkit.build.inputs import name_base
from layerkit.build.record import Records
from layerkit.cli.diff import format_growth, paint, settings_as_text
from layerkit.cli.environment import data_folder, open_store
from layerkit.cli.output import Output, format_json, format_option, format_rows, output_options
from layerkit.cli.planned import Chosen, spec_options
from layerkit.cli.voice import is_terminal, one_line, wants_colour
from layerkit.content.store import Store
from layerkit.image.configure import configure
from layerkit.oci.config import ImageConfig
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid
from layerkit.spec.model import ImageBase

_MARKS: Final = {
    Verdict.SAME: "=",
    Verdict.CHANGED: "~",
    Verdict.NEW: "+",
    Verdict.GONE: "-",
    Verdict.RENAMED: "~",
}
_MOST_INPUTS: Final = 20


@click.command()
@spec_options
@click.option("--last", is_flag=True, help="Compare the last build with the one before, not what one would make now.")
@click.option("--all", "every", is_flag=True, help=f"Name each input that changed, not only {_MOST_INPUTS} of a layer.")
@format_option
@output_options
def explain(*, chosen: Chosen, last: bool, every: bool, form: str, output: Output) -> None:
    """Show why layers are not those of the last build: which input changed, in the spec, the base or the files.

    What a build would make now is compared with what the last one made on this machine. All that is copied is read,
    and nothing is written.

    \b
    layerkit explain                  what would a build change?
    layerkit explain web --last       why did the last build make other layers than the one before?
    layerkit explain --format json | jq -r '.images[].layers[] | select(.verdict != "same") | .name'
    """
    explanations = asyncio.run(_explain(chosen, output, last=last))
    if form == "json":
        output.answer(format_json({"images": [_as_json(explanation) for explanation in explanations]}))
    else:
        colour = wants_colour(os.environ, on_terminal=is_terminal(sys.stdout))
        texts = ["\n".join(_as_text(explanation, last=last, every=every)) for explanation in explanations]
        lines = "\n\n".join(texts).split("\n")
        output.answer("\n".join(paint(line, colour=colour) for line in lines))


async def _explain(chosen: Chosen, output: Output, *, last: bool) -> list[Explanation]:
    store = open_store(chosen.access)
    records = Records(data_folder() / "builds")
    explainer = Explainer(open_layer=_Layers(store), read_config=_Configs(store))
    explanations = []
    if last:
        for image in chosen.images:
            for platform in image.platforms if image.name in chosen.names else ():
                found = [explainer.subject_of(r) for r in records.find(chosen.path, image.name, str(platform))[:2]]
                if not found:
                    output.note(f"{image.name} for {platform} has not been built on this machine, or not lately")
                    continue
                before = found[1] if len(found) > 1 else None
                explanations.append(await asyncio.to_thread(explainer.explain, before, found[0]))
        return explanations
    for one in await chosen.prepare(output, is_readable=True):
        known = records.find(chosen.path, one.spec.name, str(one.spec.platform))
        previous = explainer.subject_of(known[0]) if known else None
        after = await asyncio.to_thread(_subject, one)
        explanations.append(await asyncio.to_thread(explainer.explain, previous, after))
    return explanations


def _subject(one: Prepared) -> Subject:
    # Of an image of the same file that is yet to be built nobody knows the config.
    is_known = not isinstance(one.spec.base, ImageBase)
    return subject_of_plan(
        one.plan,
        base=name_base(one.spec.base),
        base_digest=one.base.digest,
        config=configure(one.base.image, one.spec.config).created_at(one.spec.timestamp).config if is_known else None,
    )


class _Layers:
    """Opens layers of the store, as far as they are still there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, layer: LayerState) -> AbstractContextManager[BinaryIO] | None:
        if layer.digest is None:
            return None
        try:
            return self._store.path_of(layer.digest).open("rb")
        except FileNotFoundError:
            return None


class _Configs:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, digest: Digest) -> ImageConfig | None:
        try:
            return ImageConfig.parse(self._store.path_of(digest).read_bytes())
        except (FileNotFoundError, ManifestInvalid):
            return None


def _as_text(explanation: Explanation, *, last: bool, every: bool) -> Iterator[str]:
    before, after = explanation.before, explanation.after
    what = f"the build of {_time(after.built)}" if last else "a build now"
    if before is None:
        known = "no earlier one is known" if last else "it has not been built on this machine, or not lately"
        yield f"{after.image} for {after.platform}: {known}"
    else:
        yield f"{after.image} for {after.platform}: {what} and that of {_time(before.built)}, {before.manifest}"
    if explanation.is_same:
        yield "  nothing differs"
        return
    if explanation.base:
        yield f"  ~ base: {one_line(explanation.base)}"
    if explanation.is_reordered:
        yield "  ~ the layers are in another order"
    for layer in explanation.layers:
        yield from _layer_as_text(layer, every=every)
    yield from (f"  {line[:2]}config {one_line(line[2:])}" for line in settings_as_text(explanation.settings))


def _layer_as_text(layer: ExplainedLayer, *, every: bool) -> Iterator[str]:
    count = len(layer.inputs)
    told = {
        Verdict.SAME: "the same",
        Verdict.CHANGED: f"{count} of its paths changed" if count != 1 else "1 of its paths changed",
        Verdict.NEW: "new",
        Verdict.GONE: "gone",
        Verdict.RENAMED: "the same under another name",
    }[layer.verdict]
    if layer.verdict is Verdict.CHANGED and not count:
        told = "changed"
    yield f"  {_MARKS[layer.verdict]} layer {layer.name}: {told}"
    yield from (f"      {one_line(reason)}" for reason in layer.reasons)
    if not layer.is_complete:
        yield "      what changed in its files cannot be told: the earlier layer is no longer in the store"
    shown = layer.inputs if every else layer.inputs[:_MOST_INPUTS]
    yield from (f"      {line}" for line in format_rows([_input_row(change) for change in shown], right={1}))
    if len(shown) < count:
        yield f"      and {count - len(shown)} more (--all)"


def _input_row(change: InputChange) -> tuple[str, ...]:
    grown = format_growth(change.grown) if change.grown else ""
    source = f"<- {change.source}" if change.source else ""
    return f"{_MARKS[change.kind]} /{change.path}", grown, ", ".join(change.aspects), source, change.position


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _as_json(explanation: Explanation) -> dict[str, Any]:
    """docs/output.md, "layerkit explain"."""
    return {
        "name": explanation.after.image,
        "platform": explanation.after.platform,
        "before": _subject_as_json(explanation.before) if explanation.before else None,
        "after": _subject_as_json(explanation.after),
        "layers": [
            {
                "name": layer.name,
                "verdict": str(layer.verdict),
                "before": _state_as_json(layer.before),
                "after": _state_as_json(layer.after),
                "reasons": list(layer.reasons),
                "inputs": [
                    {
                        "path": f"/{change.path}",
                        "change": str(change.kind),
                        "aspects": [str(aspect) for aspect in change.aspects],
                        "grown": change.grown,
                        "source": change.source or None,
                        "position": change.position or None,
                    }
                    for change in layer.inputs
                ],
                "complete": layer.is_complete,
            }
            for layer in explanation.layers
        ],
        "reordered": explanation.is_reordered,
        "config": [
            {"path": setting.path, "before": setting.before, "after": setting.after} for setting in explanation.settings
        ],
    }


def _subject_as_json(subject: Subject) -> dict[str, Any]:
    return {
        "built": subject.built or None,
        "digest": subject.manifest,
        "base": {"name": subject.base, "digest": subject.base_digest},
    }


def _state_as_json(state: LayerState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "name": state.name,
        "diffId": state.diff_id,
        "digest": state.digest,
        "files": state.files,
        "size": state.size,
        "compression": state.compression,
        "steps": list(state.steps),
    }
