"""An image: a config and layers. Everything here makes a new one and does no I/O.

Sources: image-spec, manifest.md and config.md ("history": one entry for each layer that is not `empty_layer`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Self

import msgspec

from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import ManifestInvalid
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_MANIFEST, to_oci
from layerkit.oci.platform import Platform

# What the image was built on: a push looks there for layers to mount (image-spec, annotations.md).
BASE_NAME: Final = "org.opencontainers.image.base.name"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"

MOST_LAYERS: Final = 120
"""Docker's limit is 127 (moby/moby, layer.MaxLayerDepth); what runs an image may need a few."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """`layers` are what the manifest lists, in order; the config's `diff_ids` are as many."""

    config: ImageConfig
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = msgspec.field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def empty(cls, platform: Platform) -> Self:
        """No layers, and a config that names the platform alone."""
        document: dict[str, Any] = {
            "architecture": platform.architecture,
            "os": platform.os,
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        if platform.variant:
            document["variant"] = platform.variant
        return cls(config=ImageConfig.build(document), layers=())

    @classmethod
    def of(cls, manifest: ImageManifest, config: ImageConfig) -> Self:
        """An image that exists, as a base: its layers keep their bytes, Docker's media types become OCI's.

        Their annotations stay too: eStargz and zstd:chunked have there where the table of contents is.

        Raises ManifestInvalid where manifest and config do not belong together.
        """
        layers = tuple(
            msgspec.structs.replace(
                layer, media_type=to_oci(layer.media_type), data=None, artifact_type=None, platform=None
            )
            for layer in manifest.layers or ()
        )
        if len(layers) != len(config.diff_ids):
            raise ManifestInvalid(
                f"image invalid: the manifest has {len(layers)} layers, its config {len(config.diff_ids)} diff_ids"
            )
        return cls(config=config, layers=layers)

    @property
    def platform(self) -> Platform:
        return self.config.platform

    def with_layer(self, descriptor: Descriptor, diff_id: Digest, *, created_by: str) -> "Image":
        """With one more layer on top; `created_by` is what `docker history` shows of it."""
        document = dict(self.config.document)
        document["rootfs"] = {"type": "layers", "diff_ids": [*self.config.diff_ids, diff_id]}
        document["history"] = [*self._history(), {"created_by": created_by}]
        return msgspec.structs.replace(self, config=ImageConfig.build(document), layers=(*self.layers, descriptor))

    def created_at(self, seconds: int) -> "Image":
        """With this time, in seconds since 1970, as `created`, and in the history of the layers that have none."""
        created = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
        history = [entry if entry.get("created") else {**entry, "created": created} for entry in self._history()]
        document = {**self.config.document, "created": created}
        if history:
            document["history"] = history
        return msgspec.structs.replace(self, config=ImageConfig.build(document))

    def with_execution(self, fields: Mapping[str, Any]) -> "Image":
        """With these fields of the config's `config` object set; a value of None removes the field."""
        execution = {**(self.config.document.get("config") or {}), **fields}
        execution = {key: value for key, value in execution.items() if value is not None}
        return msgspec.structs.replace(self, config=ImageConfig.build({**self.config.document, "config": execution}))

    def with_annotations(self, annotations: Mapping[str, str]) -> "Image":
        """With these annotations of the manifest set."""
        return msgspec.structs.replace(self, annotations=MappingProxyType({**self.annotations, **annotations}))

    @property
    def manifest(self) -> Manifest:
        """The OCI manifest of this image, in canonical form."""
        raw = self.config.raw
        return Manifest.encode(
            ImageManifest(
                schema_version=2,
                media_type=OCI_MANIFEST,
                config=Descriptor(media_type=OCI_CONFIG, digest=Digest.of(raw), size=len(raw)),
                layers=self.layers,
                annotations=dict(self.annotations) or None,
            )
        )

    def _history(self) -> list[dict[str, Any]]:
        """With one entry for each layer: images exist whose history tells of fewer, which some clients refuse."""
        told = sum(not entry.empty_layer for entry in self.config.history)
        missing = len(self.layers) - told
        return [
            *(self.config.document.get("history") or ()),
            *({"created_by": "a layer of the base image"} for _ in range(missing)),
        ]
