"""Replanning: a plan that was made of the same before is known without making one entry.

A plan is a function of its spec, of what is below and beside it, and of the paths, links and numbers of files that one
walk over the folder sees. All this together has a fingerprint, and by it a few words of each plan are kept: the names,
sizes and keys of its layers, and its warnings. That is all that a build asks which changes nothing. Who asks for
entries has the plan made after all, and is told where the files are others by then. Blocking.
"""

from collections.abc import Callable
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.folder import CacheFolder
from layerkit.build.inputs import Inputs
from layerkit.build.plan import Planner
from layerkit.build.planned import BuildPlan, Doubt, Made, Outline, PlannedLayer
from layerkit.build.program import stamp_of_program
from layerkit.layer.errors import LayerError
from layerkit.oci.codec import decode_json, encode_json
from layerkit.spec.model import Spec

_MOST_ALIKE: Final = 8
"""Plans that are kept of one image of one folder: it is built with other variables, and files change back."""
_VERSION: Final = 1


class _KeptLayer(msgspec.Struct, frozen=True):
    name: str
    created_by: str
    outline: Outline


class _KeptPlan(msgspec.Struct, frozen=True):
    fingerprint: str
    layers: tuple[_KeptLayer, ...]
    warnings: tuple[str, ...]
    doubts: tuple[Doubt, ...]


class Replanner(msgspec.Struct, frozen=True, kw_only=True):
    """Plans, some of whose words are kept in `folder`, the user's cache. Without `is_trusted` each is made."""

    folder: Path
    is_trusted: bool = True
    program: str = msgspec.field(default_factory=stamp_of_program)
    """Another one may plan otherwise."""

    def plan(self, spec: Spec, inputs: Inputs) -> BuildPlan:
        """What `plan_build` gives and raises. The entries of its layers may be planned when somebody asks for them."""
        planner = Planner(spec, inputs)
        known = self._find(spec)
        # A first build need not look at all files twice.
        seen = self._seal(planner.survey()) if known else None
        for kept in known:
            if kept.fingerprint == seen:
                return _recall(kept, spec, inputs)
        plan = planner.plan()
        # Not as it was seen before: files may have come and gone since.
        fingerprint = self._seal(planner.fingerprint)
        if fingerprint is not None and all(layer.outline.key is not None for layer in plan.layers):
            layers = tuple(_KeptLayer(layer.name, layer.created_by, layer.outline) for layer in plan.layers)
            new = _KeptPlan(fingerprint, layers, plan.warnings, plan.doubts)
            older = (kept for kept in known if kept.fingerprint != fingerprint)
            self._files.keep(_key(spec), encode_json((new, *older)[:_MOST_ALIKE]))
        return plan

    def _seal(self, fingerprint: str | None) -> str | None:
        return sha256(f"{self.program} {fingerprint}".encode()).hexdigest() if fingerprint is not None else None

    def _find(self, spec: Spec) -> tuple[_KeptPlan, ...]:
        """The plans of this image of this folder, the newest first."""
        content = self._files.find(_key(spec))
        try:
            return decode_json(content, tuple[_KeptPlan, ...]) if content is not None else ()
        except ValueError:
            # What a crash cut short is as good as nothing.
            return ()

    @property
    def _files(self) -> CacheFolder:
        return CacheFolder(folder=self.folder / f"plans-{_VERSION}", is_trusted=self.is_trusted)


def _key(spec: Spec) -> str:
    return sha256(repr((spec.context, spec.name, spec.platform)).encode(errors="surrogatepass")).hexdigest()


def _recall(kept: _KeptPlan, spec: Spec, inputs: Inputs) -> BuildPlan:
    later = _Later(spec, msgspec.structs.replace(inputs, base=inputs.base.copy()))
    layers = []
    for number, known in enumerate(kept.layers):
        make = later.making(number, known.outline)
        layer = PlannedLayer(name=known.name, created_by=known.created_by, make=make, outline=known.outline)
        layers.append(layer)
        inputs.base.put(layer)
    return BuildPlan(spec=spec, layers=tuple(layers), warnings=kept.warnings, doubts=kept.doubts)


class _Later:
    """The plan, made once somebody asks for what is in it."""

    def __init__(self, spec: Spec, inputs: Inputs) -> None:
        self._spec = spec
        self._inputs = inputs

    @cached_property
    def _plan(self) -> BuildPlan:
        return Planner(self._spec, self._inputs).plan()

    def making(self, number: int, outline: Outline) -> Callable[[], Made]:
        def make() -> Made:
            layers = self._plan.layers
            if number >= len(layers) or layers[number].outline != outline:
                raise LayerError(
                    f"files of {self._spec.context} changed during the build: build again once nothing writes to them"
                )
            return Made(layers[number].entries, layers[number].provenance)

        return make
