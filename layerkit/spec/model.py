"""The build spec as values: one image, for one platform's variables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from layerkit.document.problem import DocumentError, Position
from layerkit.document.tree import Document
from layerkit.oci.digest import Digest
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName, Tag


@dataclass(frozen=True, slots=True)
class Scratch:
    """No base: the image begins empty."""


@dataclass(frozen=True, slots=True)
class RegistryBase:
    reference: Reference


@dataclass(frozen=True, slots=True)
class LayoutBase:
    """An OCI image layout in a folder. Without a reference it must hold one image."""

    path: Path
    reference: Tag | Digest | None = None


@dataclass(frozen=True, slots=True)
class StoreBase:
    """An image of the local store, which `from:` never takes without being told."""

    reference: Reference


Base: TypeAlias = Scratch | RegistryBase | LayoutBase | StoreBase


class Compression(StrEnum):
    """How new layers are stored."""

    GZIP = "gzip"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Of what is copied, inherited spec -> layer -> copy.

    `mode` is for files: None stands for 0644, or 0755 where the source is executable. `dir_mode` is for folders.
    """

    uid: int = 0
    gid: int = 0
    mode: int | None = None
    dir_mode: int = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files of the context. `src` is a path or a glob as typed; `position` is where it stands.

    `dest` is absolute and normalised; a `/` at its end means "into this directory". `exclude` are gitignore patterns.
    """

    src: str
    dest: str
    exclude: tuple[str, ...] = ()
    attributes: Attributes
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file whose content stands in the spec. `dest` is absolute, normalised and names the file."""

    content: str
    dest: str
    attributes: Attributes
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """`path` is absolute and normalised, `target` as typed."""

    path: str
    target: str
    attributes: Attributes
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One content-addressed unit. A layer without a name has its number: `layer-2` is the second."""

    name: str
    copies: tuple[Copy | Content, ...]
    symlinks: tuple[Symlink, ...]
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """Durations are in nanoseconds, as in Docker's config; None leaves the runtime's default."""

    test: tuple[str, ...]
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One image. No `platforms` and no `tags` mean that the spec names none; the caller knows the defaults.

    `context` is the folder of the file, absolute. `timestamp` is `created`, in seconds since 1970. The `labels:` of
    the spec and those of its `config:` are one thing, and together in `config.labels`.
    """

    name: RepositoryName
    context: Path
    base: Base
    tags: tuple[Reference, ...]
    platforms: tuple[Platform, ...]
    layers: tuple[Layer, ...]
    config: Config
    annotations: Mapping[str, str]
    timestamp: int
    compression: Compression
    document: Document = field(repr=False, compare=False)

    def locate(self, *path: str | int, key: bool = False) -> Position:
        """Where a value of the file stands, like `locate("from")`; its key with `key`."""
        return self.document.locate(path, key=key)

    def problem(self, position: Position, message: str, hint: str = "") -> DocumentError:
        """The error of a value that turned out wrong later, to raise: with the line where it stands."""
        return DocumentError([self.document.problem(position, message, hint)])
