"""Conversion: a validated document to a Spec, with attributes inherited and positions noted."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import msgspec

from layerkit.document.problem import DocumentError, InvalidValue, Position, Problem
from layerkit.document.tree import Document, KeyPath
from layerkit.document.validate import validate
from layerkit.oci.platform import Platform
from layerkit.oci.reference import RepositoryName
from layerkit.spec import paths, shape, web
from layerkit.spec.model import (
    Apt,
    ArchiveBase,
    Attributes,
    Base,
    Config,
    Content,
    Copy,
    Directory,
    Fetch,
    Healthcheck,
    ImageBase,
    Layer,
    LayoutBase,
    Mirror,
    Python,
    RegistryBase,
    Remove,
    RootfsBase,
    Spec,
    Symlink,
    User,
)
from layerkit.spec.secrets import find_secrets
from layerkit.spec.shape_apt import AptShape
from layerkit.spec.shape_config import HealthcheckShape
from layerkit.spec.shape_layer import CopyShape, FetchShape, LayerShape
from layerkit.spec.shape_python import PythonShape
from layerkit.spec.shape_types import OwnedShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an image's own document does not say. `images` are the names of those that its file describes.

    `commit_time` answers `timestamp: git`; it raises InvalidValue where there is no commit.
    """

    name: RepositoryName
    platform: Platform
    context: Path
    images: Collection[str]
    source_date_epoch: int | None
    commit_time: Callable[[], int]


def convert(document: Document, around: Surroundings, *, typed: Document) -> Spec:
    """The Spec of `document`; `typed` is the same before its variables were substituted.

    Raises DocumentError with all that is wrong with it.
    """
    model = shape.ImageShape if around.images else shape.SpecShape
    return _Converter(document, around, typed).convert(validate(document, model))


@dataclass(frozen=True, slots=True)
class _Inherited:
    """Attributes on their way from the spec to a copy. The group follows the user until somebody names it."""

    user: int | str = 0
    users_group: int | str | None = None
    group: int | str | None = None
    mode: int | None = None
    dir_mode: int = Attributes().dir_mode

    def within(self, inner: OwnedShape) -> "_Inherited":
        here = self
        if inner.owner:
            # A group beside the user is nearer than a `group` further out; a user alone leaves that `group` as it is.
            group = self.group if inner.owner.group is None else None
            here = replace(here, user=inner.owner.user, users_group=inner.owner.group, group=group)
        nearer = {name: getattr(inner, name) for name in ("group", "mode", "dir_mode")}
        return replace(here, **{name: value for name, value in nearer.items() if value is not None})

    def attributes(self) -> Attributes:
        group = self.users_group if self.group is None else self.group
        return Attributes(user=self.user, group=group, mode=self.mode, dir_mode=self.dir_mode)


class _Converter:
    def __init__(self, document: Document, around: Surroundings, typed: Document) -> None:
        self._document = document
        self._around = around
        self._typed = typed
        self._problems: list[Problem] = []

    def convert(self, found: shape.ImageShape) -> Spec:
        """Raises DocumentError for what only the whole tells: names given twice, labels that contradict."""
        users = self._users(found)
        spec = Spec(
            name=self._around.name,
            platform=self._around.platform,
            context=self._around.context,
            base=self._base(found.base, ("from",)),
            tags=tuple(dict.fromkeys(found.tags)),
            users=users,
            layers=self._layers(found),
            config=self._config(found, users),
            annotations=MappingProxyType(found.annotations),
            timestamp=self._timestamp(found),
            compression=found.compression,
            warnings=(*find_secrets(self._document, self._typed), *self._find_unverified(found)),
            document=self._document,
        )
        if self._problems:
            raise DocumentError(self._problems)
        return spec

    def _report(self, position: Position, message: str, hint: str = "") -> None:
        self._problems.append(self._document.problem(position, message, hint))

    def _base(self, base: Base, path: KeyPath) -> Base:
        match base:
            case RegistryBase() if (name := str(self._document.get(path))) in self._around.images:
                if name == self._around.name:
                    self._report(
                        self._document.locate(path),
                        f"`{name}` is this image itself",
                        f"write {base.reference} for that of the registry",
                    )
                return ImageBase(RepositoryName(name))
            case LayoutBase() | ArchiveBase() | RootfsBase():
                return msgspec.structs.replace(base, path=self._around.context / base.path)
            case _:
                return base

    def _timestamp(self, found: shape.ImageShape) -> int:
        if self._around.source_date_epoch is not None:
            return self._around.source_date_epoch
        if found.timestamp != "git":
            return found.timestamp
        try:
            return self._around.commit_time()
        except InvalidValue as error:
            self._report(self._document.locate(("timestamp",)), error.message, error.hint)
            return 0

    def _users(self, found: shape.ImageShape) -> tuple[User, ...]:
        users: list[User] = []
        groups: dict[str, User] = {}
        for name, user in found.users.items():
            gid = user.uid if user.gid is None else user.gid
            optional = {"home": user.home, "shell": user.shell}
            user_value = User(
                name=name,
                uid=user.uid,
                gid=gid,
                group=user.group or self._group_of(gid, users) or name,
                groups=tuple(dict.fromkeys(user.groups)),
                position=self._document.locate(("users", name), key=True),
                **{key: value for key, value in optional.items() if value is not None},
            )
            for before in users:
                if before.uid == user.uid:
                    self._report(
                        self._document.locate(("users", name, "uid")),
                        f"user `{before.name}` has the number {user.uid} too",
                        "give each user a number of its own",
                    )
                if before.gid == gid and before.group != user_value.group:
                    self._report(
                        self._document.locate(("users", name, "group")),
                        f"group {gid} is named {before.group!r} above",
                        f"write group: {before.group}, or another gid",
                    )
            known = groups.setdefault(user_value.group, user_value)
            if known.gid != gid:
                self._report(
                    self._document.locate(("users", name, "gid")),
                    f"group {user_value.group!r} has the number {known.gid} above",
                    f"write gid: {known.gid}, or another group",
                )
            users.append(user_value)
        return tuple(users)

    def _group_of(self, gid: int, users: list[User]) -> str | None:
        return next((user.group for user in users if user.gid == gid), None)

    def _layers(self, found: shape.ImageShape) -> tuple[Layer, ...]:
        outer = _Inherited().within(found)
        layers: list[Layer] = []
        for index, layer in enumerate(found.layers):
            name = layer.name or f"layer-{index + 1}"
            if name in {before.name for before in layers}:
                self._report(self._document.locate(("layers", index, "name")), f"a layer above is named {name!r} too")
            layers.append(self._layer(layer, name, outer.within(layer), ("layers", index)))
        return tuple(layers)

    def _layer(self, layer: LayerShape, name: str, inherited: _Inherited, path: KeyPath) -> Layer:
        return Layer(
            name=name,
            apt=None if layer.apt is None else self._apt(layer.apt, (*path, "apt")),
            python=None if layer.python is None else self._python(layer.python, inherited, (*path, "python")),
            copies=tuple(
                self._copy(copy, inherited.within(copy), (*path, "copy", number))
                for number, copy in enumerate(layer.copies)
            ),
            fetches=tuple(
                self._fetch(fetch, inherited.within(fetch), (*path, "fetch", number))
                for number, fetch in enumerate(layer.fetch)
            ),
            directories=self._directories(layer, inherited, path),
            symlinks=tuple(
                self._symlink(link, target, inherited, (*path, "symlink", link))
                for link, target in layer.symlink.items()
            ),
            removals=tuple(
                Remove(path=removal, position=self._document.locate((*path, "remove", number)))
                for number, removal in enumerate(layer.remove)
            ),
            position=self._document.locate(path),
        )

    def _apt(self, apt: AptShape, path: KeyPath) -> Apt:
        return Apt(
            packages=tuple(dict.fromkeys(apt.packages)),
            suite=apt.suite or "",
            mirrors=tuple(
                Mirror(
                    url=mirror.url,
                    suite=mirror.suite or apt.suite or "",
                    components=mirror.components or apt.components or (),
                    keyring=self._keyring(mirror.keyring or apt.keyring),
                )
                for mirror in apt.mirror
            ),
            components=apt.components or (),
            keyring=self._keyring(apt.keyring),
            snapshot=apt.snapshot or "",
            exclude=apt.exclude,
            position=self._document.locate(path),
        )

    def _keyring(self, path: str | None) -> Path | None:
        # The keys of an archive stand in the machine's folders as often as beside the spec.
        return None if path is None else self._around.context / path

    def _python(self, python: PythonShape, inherited: _Inherited, path: KeyPath) -> Python:
        # What a project without a lock depends upon it says itself.
        own = f"{python.project}/pyproject.toml".removeprefix("./") if python.project and not python.lock else ""
        return Python(
            requirements=python.requirements or own,
            lock=python.lock or "",
            into=python.into,
            interpreter=python.interpreter,
            version=python.version or "",
            extras=tuple(dict.fromkeys(python.extras)),
            groups=None if python.groups is None else tuple(dict.fromkeys(python.groups)),
            project=python.project,
            compile=python.compile != "none",
            attributes=msgspec.structs.replace(inherited.attributes(), mode=None),
            position=self._document.locate(path),
        )

    def _copy(self, copy: CopyShape, inherited: _Inherited, path: KeyPath) -> Copy | Content:
        attributes = inherited.attributes()
        if copy.content is not None:
            position = self._document.locate((*path, "content"))
            return Content(content=copy.content, dest=copy.dest, attributes=attributes, position=position)
        return Copy(
            src=copy.src or "",
            dest=copy.dest,
            origin=copy.origin and self._base(copy.origin, (*path, "from")),
            exclude=copy.exclude,
            capabilities=copy.caps or "",
            keep_mtime=copy.mtime == "source",
            attributes=attributes,
            position=self._document.locate((*path, "src")),
        )

    def _fetch(self, fetch: FetchShape, inherited: _Inherited, path: KeyPath) -> Fetch:
        name = "" if fetch.extract or not fetch.dest.endswith("/") else web.file_name(fetch.url)
        return Fetch(
            url=fetch.url,
            dest=fetch.dest + name,
            sha256=fetch.sha256,
            extract=fetch.extract,
            strip=fetch.strip,
            attributes=inherited.attributes(),
            position=self._document.locate((*path, "url")),
        )

    def _directories(self, layer: LayerShape, inherited: _Inherited, path: KeyPath) -> tuple[Directory, ...]:
        directories: dict[str, Directory] = {}
        for number, found in enumerate(layer.directory):
            here = (*path, "directory", number)
            position = self._document.locate((*here, "path"))
            attributes = inherited.within(found).attributes()
            # `mode` further out is for files; here it is the directory's own.
            dir_mode = attributes.dir_mode if found.mode is None else found.mode
            if found.path in directories:
                line = directories[found.path].position.line
                self._report(position, f"directory {found.path} stands on line {line} already", "remove one of them")
            directories[found.path] = Directory(
                path=found.path,
                attributes=msgspec.structs.replace(attributes, mode=None, dir_mode=dir_mode),
                position=position,
            )
        return tuple(directories.values())

    def _symlink(self, link: str, target: str, inherited: _Inherited, path: KeyPath) -> Symlink:
        if paths.climbs_out(paths.normalize(link), target):
            self._report(
                self._document.locate(path), f"{target} leads out of the image", "write the target from the root: /..."
            )
        return Symlink(
            path=paths.normalize(link),
            target=target,
            attributes=inherited.attributes(),
            position=self._document.locate(path, key=True),
        )

    def _config(self, found: shape.ImageShape, users: tuple[User, ...]) -> Config:
        labels = dict(found.labels)
        config = found.config
        if config is None:
            return Config(env=MappingProxyType({}), labels=MappingProxyType(labels))
        for name, value in config.labels.items():
            if labels.setdefault(name, value) != value:
                place = self._document.locate(("config", "labels", name), key=True)
                self._report(place, f"label {name!r} stands under `labels:` too, with another value", "remove one")
        return Config(
            user=config.user and _number_user(config.user, users),
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

    def _find_unverified(self, found: shape.ImageShape) -> list[str]:
        """Fetches that anybody on the way could answer."""
        return [
            f"{self._document.locate(('layers', index, 'fetch', number, 'url'))}: "
            f"{fetch.url} comes without encryption: give it a `sha256`"
            for index, layer in enumerate(found.layers)
            for number, fetch in enumerate(layer.fetch)
            if fetch.sha256 is None and not fetch.url.lower().startswith("https:")
        ]


def _number_user(text: str, users: tuple[User, ...]) -> str:
    """USER or USER:GROUP with the names of `users:` as numbers, which no runtime has to look up."""
    name, colon, group = text.partition(":")
    by_name = {user.name: user for user in users}
    gids = {user.group: user.gid for user in users}
    user = by_name.get(name)
    if colon:
        return f"{user.uid if user else name}:{gids.get(group, group)}"
    return f"{user.uid}:{user.gid}" if user else name


def _convert_healthcheck(found: HealthcheckShape) -> Healthcheck:
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
