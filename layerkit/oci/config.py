"""The image config: how a container is run, and from which layers.

Source: image-spec, config.md; `Healthcheck`, `Shell` and `OnBuild` are Docker's (moby, docs of the image spec v1.2).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Self

import msgspec

from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.platform import Platform

MAX_SIZE: Final = 4 * 1024 * 1024
"""Bytes of a config that every client reads (containers/image, internal/iolimits)."""


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "layers"
    diff_ids: tuple[Digest, ...] | None = ()


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of how the image came about; `empty_layer` where the step made none."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Execution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The `config` object: what a runtime does with the image. Null stands where Docker wrote null."""

    user: str = msgspec.field(default="", name="User")
    exposed_ports: dict[str, Any] | None = msgspec.field(default=None, name="ExposedPorts")
    env: tuple[str, ...] | None = msgspec.field(default=None, name="Env")
    entrypoint: tuple[str, ...] | None = msgspec.field(default=None, name="Entrypoint")
    cmd: tuple[str, ...] | None = msgspec.field(default=None, name="Cmd")
    volumes: dict[str, Any] | None = msgspec.field(default=None, name="Volumes")
    working_dir: str = msgspec.field(default="", name="WorkingDir")
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")
    stop_signal: str = msgspec.field(default="", name="StopSignal")
    shell: tuple[str, ...] | None = msgspec.field(default=None, name="Shell")
    healthcheck: dict[str, Any] | None = msgspec.field(default=None, name="Healthcheck")


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    architecture: str
    os: str
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] | None = msgspec.field(default=None, name="os.features")
    variant: str = ""
    created: str | None = None
    rootfs: RootFS = msgspec.field(default_factory=RootFS)
    history: tuple[History, ...] | None = None
    config: Execution | None = None


class ImageConfig(msgspec.Struct, frozen=True):
    """A config: the raw bytes, the whole JSON object (read only, unknown keys kept), and the fields that we know."""

    raw: bytes
    document: Mapping[str, Any]
    platform: Platform
    created: str | None
    diff_ids: tuple[Digest, ...]
    history: tuple[History, ...]
    execution: Execution

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises ManifestInvalid with the path of what is wrong."""
        try:
            shape = decode_json(raw, _Shape)
            document = decode_json(raw, dict[str, Any])
        except ValueError as error:
            raise ManifestInvalid(f"image config invalid: {error}") from error
        return cls(
            raw=raw,
            document=MappingProxyType(document),
            platform=Platform(
                os=shape.os,
                architecture=shape.architecture,
                variant=shape.variant,
                os_version=shape.os_version,
                os_features=shape.os_features or (),
            ),
            created=shape.created,
            diff_ids=shape.rootfs.diff_ids or (),
            history=shape.history or (),
            execution=shape.config or Execution(),
        )

    @classmethod
    def build(cls, document: Mapping[str, Any]) -> Self:
        """The config of an object of our own making, in canonical form. Raises ManifestInvalid."""
        try:
            raw = encode_json(dict(document))
        except (TypeError, ValueError) as error:
            raise ManifestInvalid(f"image config invalid: {error}") from error
        return cls.parse(raw)
