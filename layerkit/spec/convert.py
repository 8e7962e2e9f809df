"""Conversion: a validated document to a Spec, with attributes inherited, names given and positions noted."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from layerkit.document.problem import DocumentError, InvalidValue, Position, Problem
from layerkit.document.tree import Document, KeyPath
from layerkit.document.validate import validate
from layerkit.oci.platform import Platform
from layerkit.oci.reference import RepositoryName
from layerkit.spec import shape, text
from layerkit.spec.model import (
    Attributes,
    Base,
    Config,
    Content,
    Copy,
    Healthcheck,
    Layer,
    LayoutBase,
    Spec,
    Symlink,
)

_DEFAULT_STEM: Final = "layerkit"


def convert(document: Document, path: Path) -> Spec:
    """The Spec of `document`, which was read from `path`. Raises DocumentError with all that is wrong with it."""
    return _Converter(document, path).convert(validate(document, shape.SpecShape))


@dataclass(frozen=True, slots=True)
class _Inherited:
    """Attributes on their way from the spec to a copy. The group follows the user until somebody names it."""

    uid: int = 0
    gid: int | None = None
    group: int | None = None
    mode: int | None = None
    dir_mode: int = Attributes().dir_mode

    def within(self, inner: shape.OwnedShape) -> "_Inherited":
        here = self
        if inner.owner:
            # A GID beside the UID is nearer than a `group` further out; a UID alone leaves that `group` as it is.
            group = self.group if inner.owner.gid is None else None
            here = replace(here, uid=inner.owner.uid, gid=inner.owner.gid, group=group)
        nearer = {name: getattr(inner, name) for name in ("group", "mode", "dir_mode")}
        return replace(here, **{name: value for name, value in nearer.items() if value is not None})

    def attributes(self) -> Attributes:
        # As in `COPY --chown=UID`, the group's number is the user's if nothing is said of it.
        gids = (gid for gid in (self.group, self.gid, self.uid) if gid is not None)
        return Attributes(uid=self.uid, gid=next(gids), mode=self.mode, dir_mode=self.dir_mode)


class _Converter:
    def __init__(self, document: Document, path: Path) -> None:
        self._document = document
        self._path = path
        self._context = path.parent.resolve()
        self._problems: list[Problem] = []

    def convert(self, found: shape.SpecShape) -> Spec:
        """Raises DocumentError for what only the whole tells: names and platforms given twice, no valid name."""
        spec = Spec(
            name=found.name or self._default_name(),
            context=self._context,
            base=self._base(found.base),
            tags=found.tags,
            platforms=self._platforms(found.platforms),
            layers=self._layers(found),
            config=self._config(found),
            annotations=MappingProxyType(found.annotations),
            timestamp=found.timestamp,
            compression=found.compression,
            document=self._document,
        )
        if self._problems:
            raise DocumentError(self._problems)
        return spec

    def _report(self, position: Position, message: str, hint: str = "") -> None:
        self._problems.append(self._document.problem(position, message, hint))

    def _default_name(self) -> RepositoryName:
        stem = self._path.stem
        name, origin = (self._context.name, "folder") if stem == _DEFAULT_STEM else (stem, "file")
        try:
            return text.parse_name(name)
        except InvalidValue:
            message = f"the image needs a name: that of its {origin}, {name!r}, does not fit a repository"
            self._report(Position(self._document.file, 1, 1), message, f"add `name: {text.suggest_name(name)}`")
            return RepositoryName("")

    def _base(self, base: Base) -> Base:
        return replace(base, path=self._context / base.path) if isinstance(base, LayoutBase) else base

    def _platforms(self, platforms: tuple[Platform, ...]) -> tuple[Platform, ...]:
        for index, platform in enumerate(platforms):
            if platform in platforms[:index]:
                self._report(self._document.locate(("platforms", index)), f"platform {platform} stands here twice")
        return platforms

    def _layers(self, found: shape.SpecShape) -> tuple[Layer, ...]:
        outer = _Inherited().within(found)
        layers: list[Layer] = []
        for index, layer in enumerate(found.layers):
            position = self._document.locate(("layers", index))
            name = layer.name or f"layer-{index + 1}"
            if name in {before.name for before in layers}:
                self._report(self._document.locate(("layers", index, "name")), f"a layer above is named {name!r} too")
            inherited = outer.within(layer)
            copies = tuple(
                self._copy(copy, inherited.within(copy), ("layers", index, "copy", number))
                for number, copy in enumerate(layer.copies)
            )
            symlinks = tuple(
                Symlink(
                    path=text.normalize(path),
                    target=target,
                    attributes=inherited.attributes(),
                    position=self._document.locate(("layers", index, "symlink", path), key=True),
                )
                for path, target in layer.symlink.items()
            )
            layers.append(Layer(name=name, copies=copies, symlinks=symlinks, position=position))
        return tuple(layers)

    def _copy(self, copy: shape.CopyShape, inherited: _Inherited, path: KeyPath) -> Copy | Content:
        attributes = inherited.attributes()
        if copy.content is not None:
            position = self._document.locate((*path, "content"))
            return Content(content=copy.content, dest=copy.dest, attributes=attributes, position=position)
        return Copy(
            src=copy.src or "",
            dest=copy.dest,
            exclude=copy.exclude,
            attributes=attributes,
            position=self._document.locate((*path, "src")),
        )

    def _config(self, found: shape.SpecShape) -> Config:
        labels = dict(found.labels)
        config = found.config
        if config is None:
            return Config(env=MappingProxyType({}), labels=MappingProxyType(labels))
        for name, value in config.labels.items():
            if labels.setdefault(name, value) != value:
                place = self._document.locate(("config", "labels", name), key=True)
                self._report(place, f"label {name!r} stands under `labels:` too, with another value", "remove one")
        return Config(
            user=config.user,
            workdir=config.workdir,
            env=MappingProxyType(config.env),
            entrypoint=config.entrypoint,
            cmd=config.cmd,
            expose=tuple(dict.fromkeys(config.expose)),
            volumes=tuple(dict.fromkeys(config.volumes)),
            labels=MappingProxyType(labels),
            stop_signal=config.stop_signal,
            shell=config.shell,
            healthcheck=_convert_healthcheck(config.healthcheck) if config.healthcheck else None,
        )


def _convert_healthcheck(found: shape.HealthcheckShape) -> Healthcheck:
    return Healthcheck(
        test=found.test,
        interval=_nanoseconds(found.interval),
        timeout=_nanoseconds(found.timeout),
        start_period=_nanoseconds(found.start_period),
        start_interval=_nanoseconds(found.start_interval),
        retries=found.retries,
    )


def _nanoseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // timedelta(microseconds=1) * 1000
