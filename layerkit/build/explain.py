"""Explaining: why a layer is another than it was at the last build.

A build that was kept is compared with what one would make now, or with the build after it. What differs in a layer is
first sought in what the spec says of it, then, where the earlier layer is still in the store, file by file. Blocking.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import BinaryIO, Final

from layerkit.build.filesystem import indexed
from layerkit.build.planned import BuildPlan, PlannedLayer
from layerkit.build.record import BuildRecord, LayerRecord, steps_of
from layerkit.layer.compress import Compression
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.estargz import RESERVED
from layerkit.layer.index import IndexedEntry, index_layer
from layerkit.layer.write import FORMAT_VERSION, write_layer
from layerkit.oci.config import ImageConfig
from layerkit.oci.digest import Digest
from layerkit.spec.model import Spec
from layerkit.view.contents import digest_files
from layerkit.view.diff import Aspect, Setting, compare_entries, diff_configs

_PIECE: Final = 2**20


class Verdict(StrEnum):
    """What became of a layer."""

    SAME = "same"
    CHANGED = "changed"
    NEW = "new"
    GONE = "gone"
    RENAMED = "renamed"
    """It has the content of an earlier layer of another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChange:
    """A path of a layer that is another. `aspects` are empty where it is new, `before` 0, or gone, `after` 0.

    `source` is where it comes from, as far as that is known: in a few words, with its place in the spec.
    """

    path: str
    kind: Verdict
    aspects: tuple[Aspect, ...] = ()
    grown: int = 0
    source: str = ""
    position: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerState:
    """A layer as it was or would be."""

    name: str
    steps: tuple[str, ...]
    compression: str
    diff_id: Digest
    files: int
    size: int
    digest: Digest | None = None
    """Of the layer as stored, None where it has not been written."""
    media_type: str = ""
    planned: PlannedLayer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedLayer:
    """`reasons` are of the spec and of the way layers are written, `inputs` of the files. `is_complete` is false where
    the files could not be compared."""

    name: str
    verdict: Verdict
    before: LayerState | None
    after: LayerState | None
    reasons: tuple[str, ...] = ()
    inputs: tuple[InputChange, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A build that was, or the one that would be: then `manifest` is None, and `built` 0."""

    image: str
    platform: str
    base: str
    base_digest: Digest | None
    layers: tuple[LayerState, ...]
    format: int
    annotations: Mapping[str, str]
    built: int = 0
    manifest: Digest | None = None
    config: ImageConfig | None = None
    """None where it is no longer at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`base` says how the base changed, "" where it did not. `before` is None where there was no build."""

    before: Subject | None
    after: Subject
    base: str
    layers: tuple[ExplainedLayer, ...]
    settings: tuple[Setting, ...]

    @property
    def is_same(self) -> bool:
        return (
            self.before is not None
            and not self.base
            and not self.settings
            and not self.is_reordered
            and all(layer.verdict is Verdict.SAME for layer in self.layers)
        )

    @property
    def is_reordered(self) -> bool:
        """Whether layers that both have follow each other in another way."""
        if self.before is None:
            return False
        old, new = ([layer.name for layer in subject.layers] for subject in (self.before, self.after))
        return [name for name in old if name in new] != [name for name in new if name in old]


OpenLayer = Callable[[LayerState], AbstractContextManager[BinaryIO] | None]
"""Opens a layer as it is stored, at its start; None where it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """`read_config` reads a config of the store, and is None for one that is gone."""

    open_layer: OpenLayer
    read_config: Callable[[Digest], ImageConfig | None]

    def subject_of(self, record: BuildRecord) -> Subject:
        return Subject(
            image=record.image,
            platform=record.platform,
            base=record.base,
            base_digest=record.base_digest,
            layers=tuple(map(_recorded, record.layers)),
            format=record.format,
            annotations=record.annotations,
            built=record.built,
            manifest=record.manifest,
            config=self.read_config(record.config),
        )

    def explain(self, before: Subject | None, after: Subject) -> Explanation:
        """Why `after` is what it is. Raises LayerError for a layer or a source that cannot be read."""
        if before is None:
            layers = tuple(
                ExplainedLayer(name=layer.name, verdict=Verdict.NEW, before=None, after=layer) for layer in after.layers
            )
            return Explanation(before=None, after=after, base="", layers=layers, settings=())
        return Explanation(
            before=before,
            after=after,
            base=_explain_base(before, after),
            layers=tuple(self._explain_layers(before, after)),
            settings=tuple(_explain_settings(before, after)),
        )

    def _explain_layers(self, before: Subject, after: Subject) -> Iterable[ExplainedLayer]:
        old = {layer.name: layer for layer in before.layers}
        contents = {layer.diff_id: layer for layer in before.layers}
        kept = {layer.name for layer in after.layers}
        for layer in after.layers:
            known = old.get(layer.name)
            twin = contents.get(layer.diff_id)
            if known is not None:
                yield self._explain_layer(known, layer, same_format=before.format == after.format)
            elif twin is not None and twin.name not in kept:
                kept.add(twin.name)
                reasons = (f"it was called {twin.name}",)
                yield ExplainedLayer(
                    name=layer.name, verdict=Verdict.RENAMED, before=twin, after=layer, reasons=reasons
                )
            else:
                yield ExplainedLayer(name=layer.name, verdict=Verdict.NEW, before=None, after=layer)
        for layer in before.layers:
            if layer.name not in kept:
                yield ExplainedLayer(name=layer.name, verdict=Verdict.GONE, before=layer, after=None)

    def _explain_layer(self, before: LayerState, after: LayerState, *, same_format: bool) -> ExplainedLayer:
        reasons: list[str] = []
        if before.compression != after.compression:
            reasons.append(f"compression {before.compression} -> {after.compression}")
        if before.diff_id == after.diff_id:
            verdict = Verdict.CHANGED if reasons or not _are_stored_alike(before, after) else Verdict.SAME
            if verdict is Verdict.CHANGED and not reasons:
                reasons.append("the same content, compressed by another version of the compressor")
            return ExplainedLayer(name=after.name, verdict=verdict, before=before, after=after, reasons=tuple(reasons))
        if not same_format:
            reasons.append("layers are written in another way by this version of layerkit")
        reasons += [f"no longer: {step}" for step in before.steps if step not in after.steps]
        reasons += [f"new: {step}" for step in after.steps if step not in before.steps]
        if not reasons and before.steps != after.steps:
            reasons.append("its steps are in another order")
        inputs = self._compare(before, after)
        return ExplainedLayer(
            name=after.name,
            verdict=Verdict.CHANGED,
            before=before,
            after=after,
            reasons=tuple(reasons),
            inputs=inputs or (),
            is_complete=inputs is not None,
        )

    def _compare(self, before: LayerState, after: LayerState) -> tuple[InputChange, ...] | None:
        """What differs file by file; None where one of the layers is gone."""
        old, new = self._contents(before), self._contents(after)
        if old is None or new is None:
            return None
        changes: dict[str, InputChange] = {}
        doubtful: list[str] = []
        for path in sorted({*old.entries, *new.entries}):
            one, other = old.entries.get(path), new.entries.get(path)
            if one is None and other is not None:
                changes[path] = new.tell(path, Verdict.NEW, grown=other.size)
            elif other is None and one is not None:
                changes[path] = InputChange(path=path, kind=Verdict.GONE, grown=-one.size)
            elif one is not None and other is not None:
                aspects = compare_entries(one, other, times=True)
                if aspects:
                    changes[path] = new.tell(path, Verdict.CHANGED, aspects=aspects, grown=other.size - one.size)
                if one.type is other.type is EntryType.FILE and one.size == other.size and one.size:
                    doubtful.append(path)
        digests = old.digest(doubtful), new.digest(doubtful)
        for path in doubtful:
            if digests[0][path] != digests[1][path]:
                known = changes[path].aspects if path in changes else ()
                aspects = tuple(aspect for aspect in Aspect if aspect in {*known, Aspect.CONTENT})
                changes[path] = new.tell(path, Verdict.CHANGED, aspects=aspects)
        return tuple(changes[path] for path in sorted(changes))

    def _contents(self, layer: LayerState) -> "_Planned | _Stored | None":
        if layer.planned is not None:
            return _Planned(layer.planned)
        opened = self.open_layer(layer)
        if opened is None:
            return None
        with opened as file:
            index = index_layer(file, layer.media_type, layer.diff_id)
        # What a compression adds nobody has copied.
        own = RESERVED if layer.compression.startswith(Compression.ESTARGZ) else ()
        entries = {entry.path: entry for entry in index.entries if entry.path not in own}
        return _Stored(layer, entries, self.open_layer)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is in a layer of the store."""

    layer: LayerState
    entries: Mapping[str, IndexedEntry]
    open_layer: OpenLayer

    def digest(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        wanted = [self.entries[path] for path in paths]
        opened = self.open_layer(self.layer) if wanted else None
        if opened is None:
            return {}
        with opened as file:
            digests = digest_files(file, self.layer.media_type, wanted)
        return {entry.path: digests[entry.offset] for entry in wanted}

    def tell(self, path: str, kind: Verdict, *, aspects: tuple[Aspect, ...] = (), grown: int = 0) -> InputChange:
        return InputChange(path=path, kind=kind, aspects=aspects, grown=grown)


class _Planned:
    """What would be in a layer."""

    def __init__(self, planned: PlannedLayer) -> None:
        self._planned = planned
        self._entries = {entry.path: entry for entry in planned.entries}
        self.entries: Mapping[str, IndexedEntry] = {entry.path: indexed(entry) for entry in planned.entries}

    def digest(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        digests = {}
        for path in paths:
            source = self._entries[path].source
            digester = sha256()
            for piece in source.pieces(_PIECE) if source is not None else ():
                digester.update(piece)
            digests[path] = digester.digest()
        return digests

    def tell(self, path: str, kind: Verdict, *, aspects: tuple[Aspect, ...] = (), grown: int = 0) -> InputChange:
        found = self._planned.provenance.get(path)
        return InputChange(
            path=path,
            kind=kind,
            aspects=aspects,
            grown=grown,
            source=found.source if found else "",
            position=str(found.position) if found else "",
        )


def _are_stored_alike(before: LayerState, after: LayerState) -> bool:
    return before.digest is None or after.digest is None or before.digest == after.digest


def _explain_settings(before: Subject, after: Subject) -> Iterable[Setting]:
    """What of an image is not in its layers: the config, as far as it is known, and the annotations."""
    old, new = before.config, after.config
    if old is not None and new is not None:
        yield from diff_configs(old, new)
        if old.created != new.created:
            yield Setting(path="created", before=old.created, after=new.created)
    for name in sorted({*before.annotations, *after.annotations}):
        one, other = before.annotations.get(name), after.annotations.get(name)
        if one != other:
            yield Setting(path=f"annotations.{name}", before=one, after=other)


def _explain_base(before: Subject, after: Subject) -> str:
    if before.base != after.base:
        return f"{before.base} -> {after.base}"
    if before.base_digest != after.base_digest:
        return f"{after.base} moved: {before.base_digest or 'none'} -> {after.base_digest or 'none'}"
    return ""


def _recorded(record: LayerRecord) -> LayerState:
    return LayerState(
        name=record.name,
        steps=record.steps,
        compression=record.compression,
        diff_id=record.diff_id,
        files=record.files,
        size=record.size,
        digest=record.digest,
        media_type=record.media_type,
    )


def subject_of_plan(plan: BuildPlan, *, base: str, base_digest: Digest | None, config: ImageConfig | None) -> Subject:
    """What a build of this plan would make. Reads all that is copied. Raises LayerError."""
    spec = plan.spec
    return Subject(
        image=str(spec.name),
        platform=str(spec.platform),
        base=base,
        base_digest=base_digest,
        layers=tuple(
            LayerState(
                name=planned.name,
                steps=steps_of(spec, planned.name),
                compression=str(spec.compression),
                diff_id=_diff_id(planned.entries, spec),
                files=planned.files,
                size=planned.size,
                planned=planned,
            )
            for planned in plan.layers
        ),
        format=FORMAT_VERSION,
        annotations=spec.annotations,
        config=config,
    )


class _Nowhere:
    def write(self, content: object, /) -> None:
        """Only the digest is wanted."""


def _diff_id(entries: Sequence[Entry], spec: Spec) -> Digest:
    compression, level = Compression(spec.compression.kind), spec.compression.level
    if compression is not Compression.ESTARGZ:
        # That one has a table of contents in its tar, which says where all is once it is compressed.
        compression, level = Compression.NONE, None
    return write_layer(entries, _Nowhere(), compression=compression, level=level).diff_id
