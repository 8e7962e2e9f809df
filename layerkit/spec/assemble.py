"""Assembly: a parsed file to its images, with the variables in place for each of their platforms."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from layerkit.document.problem import DocumentError, InvalidValue, Problem
from layerkit.document.tree import Document, Node
from layerkit.oci.platform import Platform
from layerkit.oci.reference import RepositoryName
from layerkit.spec.convert import Surroundings, convert
from layerkit.spec.images import has_several, name_single, split_images
from layerkit.spec.model import ImageSpec, Spec, SpecFile
from layerkit.spec.order import find_cycles, find_missing_platforms, find_shared_tags
from layerkit.spec.text import parse_platform_text
from layerkit.spec.variables import resolve_variables, substitute

_MOST_PLATFORMS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What is given for all images of a file, and how it becomes a SpecFile."""

    document: Document
    path: Path
    context: Path
    variables: Mapping[str, str]
    default_platform: Platform
    platforms: tuple[Platform, ...]
    source_date_epoch: int | None
    commit_time: Callable[[], int]

    def assemble(self) -> SpecFile:
        """Raises DocumentError with all that is wrong with the file."""
        visible = self._visible(self.default_platform)
        images: list[ImageSpec] = []
        problems: list[Problem] = []
        documents: dict[RepositoryName | None, Document] = {}
        if has_several(self.document):
            several, problems = split_images(self.document)
            documents.update(several.items())
        else:
            documents[None] = _without_vars(self.document)
        names = frozenset(name for name in documents if name is not None)
        for name, document in documents.items():
            try:
                images.append(self._load_image(name, document, names, visible))
            except DocumentError as error:
                problems += error.problems
        problems += [*find_cycles(images), *find_missing_platforms(images), *find_shared_tags(images)]
        if problems:
            raise DocumentError(problems)
        return SpecFile(path=self.path, context=self.context, images=tuple(images), document=self.document)

    def _visible(self, platform: Platform) -> Mapping[str, str | None]:
        epoch = self.source_date_epoch
        given = {
            "arch": platform.architecture,
            "os": platform.os,
            "variant": platform.variant,
            "platform": str(platform),
            "SOURCE_DATE_EPOCH": None if epoch is None else str(epoch),
        }
        return resolve_variables(self.document, overrides=self.variables, given=given)

    def _load_image(
        self, name: RepositoryName | None, document: Document, names: Collection[str], visible: Mapping[str, str | None]
    ) -> ImageSpec:
        named, problems = _read_platforms(document, visible)
        specs: list[Spec] = []
        for platform in self.platforms or named or (self.default_platform,):
            try:
                specs.append(self._load_spec(name, document, names, platform))
            except DocumentError as error:
                # What is wrong for every platform is the same problem each time, and told once.
                problems += error.problems
        if specs and not problems:
            problems += [
                document.problem(document.locate((key,)), f"`{key}` is not the same for all platforms", hint)
                for key, hint in (
                    ("name", "one image has one name"),
                    ("tags", "a tag names the image of all platforms: leave ${arch} and its like out"),
                )
                if len({getattr(spec, key) for spec in specs}) > 1
            ]
        if problems:
            raise DocumentError(problems)
        return ImageSpec(name=specs[0].name, tags=specs[0].tags, specs=tuple(specs))

    def _load_spec(
        self, name: RepositoryName | None, typed: Document, names: Collection[str], platform: Platform
    ) -> Spec:
        document = substitute(typed, self._visible(platform))
        problems: list[Problem] = []
        if name is None:
            try:
                name = name_single(document, self.path, self.context)
            except DocumentError as error:
                problems += error.problems
        around = Surroundings(
            name=name or RepositoryName(""),
            platform=platform,
            context=self.context,
            images=names,
            source_date_epoch=self.source_date_epoch,
            commit_time=self.commit_time,
        )
        try:
            spec = convert(document, around, typed=typed)
        except DocumentError as error:
            problems += error.problems
        if problems:
            raise DocumentError(problems)
        return spec


def _without_vars(document: Document) -> Document:
    """The image at the top of a file: its variables' values are not substituted twice."""
    root = document.root
    if not isinstance(root.content, dict) or "vars" not in root.content:
        return document
    entries = {key: entry for key, entry in root.content.items() if key != "vars"}
    return msgspec.structs.replace(document, root=Node(root.position, entries))


def _read_platforms(
    document: Document, variables: Mapping[str, str | None]
) -> tuple[tuple[Platform, ...], list[Problem]]:
    """The platforms that an image names, and what is wrong with them beyond what its validation tells."""
    found = document.root.child("platforms")
    if found is None:
        return (), []
    alone = msgspec.structs.replace(document, root=Node(document.root.position, {"platforms": found}))
    try:
        values = substitute(alone, variables).get(("platforms",))
        platforms = [parse_platform_text(value) for value in values] if isinstance(values, list) else []
    except (DocumentError, InvalidValue):
        return (), []
    if len(platforms) > _MOST_PLATFORMS:
        message = f"{len(platforms)} platforms, {_MOST_PLATFORMS} are allowed"
        return (), [document.problem(document.locate(("platforms",)), message)]
    twice = [index for index, platform in enumerate(platforms) if platform in platforms[:index]]
    return tuple(dict.fromkeys(platforms)), [
        document.problem(
            document.locate(("platforms", index)), f"platform {platforms[index]} stands here twice", "remove one"
        )
        for index in twice
    ]
