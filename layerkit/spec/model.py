"""The build spec as values: the images of a file, and each of them for one platform."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

from layerkit.document.problem import DocumentError, Position, Problem
from layerkit.document.tree import Document
from layerkit.oci.digest import Digest, shorten
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName, Tag


class Scratch(msgspec.Struct, frozen=True):
    """No base: the image begins empty."""


class RegistryBase(msgspec.Struct, frozen=True):
    reference: Reference


class LayoutBase(msgspec.Struct, frozen=True):
    """An OCI image layout in a folder. Without a reference it must hold one image."""

    path: Path
    reference: Tag | Digest | None = None


class ArchiveFormat(StrEnum):
    OCI = "oci-archive"
    DOCKER = "docker-archive"


class ArchiveBase(msgspec.Struct, frozen=True):
    """A tar of images. Without a reference it must hold one.

    `reference` is a checked tag or digest in an OCI archive, and a checked name as typed in a docker archive.
    """

    path: Path
    format: ArchiveFormat
    reference: str | None = None


class RootfsBase(msgspec.Struct, frozen=True):
    """A root file system in a tar, as it is or compressed with gzip, xz or zstd. It has no config."""

    path: Path


class StoreBase(msgspec.Struct, frozen=True):
    """An image of the local store, which `from:` never takes without being told."""

    reference: Reference


class ImageBase(msgspec.Struct, frozen=True):
    """Another image of the same file, for the same platform."""

    name: RepositoryName


Base: TypeAlias = Scratch | RegistryBase | LayoutBase | ArchiveBase | RootfsBase | StoreBase | ImageBase


class CompressionKind(StrEnum):
    GZIP = "gzip"
    GZIP_FAST = "gzip:fast"
    ZSTD = "zstd"
    ESTARGZ = "estargz"
    NONE = "none"


class Compression(msgspec.Struct, frozen=True):
    """How new layers are stored. `level` None leaves it to the codec."""

    kind: CompressionKind = CompressionKind.GZIP
    level: int | None = None

    def __str__(self) -> str:
        return self.kind if self.level is None else f"{self.kind}:{self.level}"


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """Of what is copied, inherited spec -> layer -> copy.

    A name is one of `users:` or of the base's /etc/passwd and /etc/group. The group None is that of the user: a name's
    primary group, and of a number the number. `mode` is for files: None stands for 0644, or 0755 where the source is
    executable. `dir_mode` is for folders.
    """

    user: int | str = 0
    group: int | str | None = None
    mode: int | None = None
    dir_mode: int = 0o755


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """Files of the context, or of another image. `src` is a path or a glob as typed; `position` is where it stands.

    In another image, `origin`, `src` is absolute and normalised. `dest` is absolute and normalised; a `/` at its end
    means "into this directory". `exclude` are gitignore patterns. `capabilities` are those of the files, as
    `capabilities.parse_capabilities` reads them, "" for none. `keep_mtime` takes the times of the sources.
    """

    src: str
    dest: str
    origin: Base | None = None
    exclude: tuple[str, ...] = ()
    capabilities: str = ""
    keep_mtime: bool = False
    attributes: Attributes
    position: Position


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose content stands in the spec. `dest` is absolute, normalised and names the file."""

    content: str
    dest: str
    attributes: Attributes
    position: Position


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """A file from the web. `dest` is absolute and normalised, and names the file.

    With `extract` the file is an archive, and `dest` ends in the `/` of the directory that gets what is in it, less
    the first `strip` components of each path.
    """

    url: str
    dest: str
    sha256: Digest | None = None
    extract: bool = False
    strip: int = 0
    attributes: Attributes
    position: Position


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is absolute and normalised, without a `/` at its end. Its mode is `attributes.dir_mode`."""

    path: str
    attributes: Attributes
    position: Position


class Symlink(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is absolute and normalised, `target` as typed."""

    path: str
    target: str
    attributes: Attributes
    position: Position


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """What layers below have at `path`, a path or a glob: absolute and normalised, without a `/` at its end."""

    path: str
    position: Position


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """An archive of Debian packages by its URL, without a `/` at its end, and one suite of it.

    No components mean `main`. `keyring` is a file of OpenPGP certificates, None for what the machine's apt trusts.
    """

    url: str
    suite: str
    components: tuple[str, ...]
    keyring: Path | None


class Apt(msgspec.Struct, frozen=True, kw_only=True):
    """Debian packages: `NAME` or `NAME=VERSION` each. `suite` "" is that of the base.

    Without `mirrors` they come from the dated archive where there is a `snapshot`, else from where the machine's apt
    has the suite from; then `components` are taken of it, none for those of the machine. The suite "" of a mirror is
    that of the base too. `exclude` are gitignore patterns of what to leave out.
    """

    packages: tuple[str, ...]
    suite: str = ""
    mirrors: tuple[Mirror, ...] = ()
    components: tuple[str, ...] = ()
    keyring: Path | None = None
    snapshot: str = ""
    exclude: tuple[str, ...] = ()
    position: Position


class Python(msgspec.Struct, frozen=True, kw_only=True):
    """An environment of Python wheels in the folder `into`: those of `requirements` or of a `lock`, of which one is "".

    Both, and the `project` that is installed too ("" for none), are paths in the context. `version` "" is that of the
    `interpreter` in the image; both `into` and this are absolute paths, normalised. `groups` None are those that the
    lock takes by itself. With `compile` there is byte code. Of the `attributes` only the owner counts.
    """

    requirements: str = ""
    lock: str = ""
    into: str = "/opt/venv"
    interpreter: str = "/usr/bin/python3"
    version: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    project: str = ""
    compile: bool = False
    attributes: Attributes
    position: Position

    @property
    def file(self) -> str:
        """What names the wheels."""
        return self.requirements or self.lock


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One content-addressed unit. A layer without a name has its number: `layer-2` is the second."""

    name: str
    apt: Apt | None = None
    python: Python | None = None
    copies: tuple[Copy | Content, ...] = ()
    fetches: tuple[Fetch, ...] = ()
    directories: tuple[Directory, ...] = ()
    symlinks: tuple[Symlink, ...] = ()
    removals: tuple[Remove, ...] = ()
    position: Position


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A line of /etc/passwd and one of /etc/group. `group` is the name of `gid`; `groups` are further ones, by name."""

    name: str
    uid: int
    gid: int
    group: str
    home: str = "/"
    shell: str = "/usr/sbin/nologin"
    groups: tuple[str, ...] = ()
    position: Position


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are in nanoseconds, as in Docker's config; None leaves the runtime's default."""

    test: tuple[str, ...]
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What is set of the image config. None and empty maps leave the base's; an empty tuple clears it.

    `env` and `labels` merge with the base's. `expose` is normalised: `8000/tcp`.
    """

    user: str | None = None
    workdir: str | None = None
    env: Mapping[str, str]
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str]
    stop_signal: str | None = None
    shell: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One image for one platform. No `tags` mean that the spec names none; the caller knows the default.

    `context` is the folder of the file, absolute. `timestamp` is `created`, in seconds since 1970. The `labels:` of
    the spec and those of its `config:` are one thing, and together in `config.labels`. `warnings` are what is right
    and yet rarely meant, each with its position.
    """

    name: RepositoryName
    platform: Platform
    context: Path
    base: Base
    tags: tuple[Reference, ...]
    users: tuple[User, ...]
    layers: tuple[Layer, ...]
    config: Config
    annotations: Mapping[str, str]
    timestamp: int
    compression: Compression
    warnings: tuple[str, ...] = ()
    document: Document

    @property
    def label(self) -> str:
        """Like `web linux/amd64`: what messages call it."""
        return f"{self.name} {self.platform}"

    @property
    def images(self) -> Mapping[RepositoryName, Position]:
        """The other images of the file that this one needs, and where it names them first."""
        found: dict[RepositoryName, Position] = {}
        if isinstance(self.base, ImageBase):
            found[self.base.name] = self.locate("from")
        for index, layer in enumerate(self.layers):
            for number, copy in enumerate(layer.copies):
                if isinstance(copy, Copy) and isinstance(copy.origin, ImageBase):
                    position = self.locate("layers", index, "copy", number, "from")
                    found.setdefault(copy.origin.name, position)
        return found

    def locate(self, *path: str | int, key: bool = False) -> Position:
        """Where a value of the image stands, like `locate("from")`; its key with `key`."""
        return self.document.locate(path, key=key)

    def problem(self, position: Position, message: str, hint: str = "") -> DocumentError:
        """The error of a value that turned out wrong later, to raise: with the line where it stands."""
        return DocumentError([self.document.problem(position, message, hint)])


class ImageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One image: a Spec for each platform, in the order of the file."""

    name: RepositoryName
    tags: tuple[Reference, ...]
    specs: tuple[Spec, ...]

    @property
    def platforms(self) -> tuple[Platform, ...]:
        return tuple(spec.platform for spec in self.specs)


class SpecFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a file describes: its images, in its order. None needs itself, be it through others."""

    path: Path
    context: Path
    images: tuple[ImageSpec, ...]
    document: Document

    def select(self, names: Iterable[str] = ()) -> tuple[ImageSpec, ...]:
        """The images of these names, or all for none, and those that they need, each after what it needs.

        Raises DocumentError for a name that no image of the file has.
        """
        images = {str(image.name): image for image in self.images}
        wanted = tuple(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in images]
        if unknown:
            raise DocumentError([self._unknown(name) for name in unknown])
        selected: dict[str, ImageSpec] = {}

        def add(image: ImageSpec) -> None:
            if image.name not in selected:
                for needed in dict.fromkeys(name for spec in image.specs for name in spec.images):
                    add(images[needed])
                selected[image.name] = image

        for name in wanted or images:
            add(images[name])
        return tuple(selected.values())

    def _unknown(self, name: str) -> Problem:
        from layerkit.document.validate import closest  # noqa: PLC0415 - only a mistake needs it

        known = [image.name for image in self.images]
        meant = closest(name, known)
        hint = f"did you mean `{meant}`?" if meant else f"known: {', '.join(known)}"
        position = self.document.locate(("images",), key=True)
        return self.document.problem(position, f"no image of this file is named {shorten(name)}", hint)
