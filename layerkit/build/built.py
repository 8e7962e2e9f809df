"""Built: images that a build has planned and made, as values, and what their manifests and indexes say. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from layerkit.build.bases import BaseImage
from layerkit.build.planned import BuildPlan, PlannedLayer
from layerkit.image.image import BASE_DIGEST, BASE_NAME, Image
from layerkit.layer.write import WrittenLayer
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import ImageIndex, Manifest
from layerkit.oci.mediatype import OCI_INDEX
from layerkit.oci.platform import Platform
from layerkit.packages.lock import NO_LOCK, Lock
from layerkit.spec.model import ImageSpec, Spec

CREATED: Final = "org.opencontainers.image.created"
_FROM_LABELS: Final = ("org.opencontainers.image.revision", "org.opencontainers.image.source")
"""Labels that the manifest has as annotations too, where readers look that do not fetch the config."""


class BuiltLayer(msgspec.Struct, frozen=True, kw_only=True):
    planned: PlannedLayer
    written: WrittenLayer


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image for one platform. `layers` are the new ones; `image.layers` has those of the base as well.

    `base` is the digest of what a registry has of the base, None where no registry has it. `lock` is what it took from
    elsewhere. The topmost `own_layers` are of this file: its own, and those of an image of the file that it stands on.
    """

    plan: BuildPlan
    image: Image
    manifest: Manifest
    layers: tuple[BuiltLayer, ...]
    base: Digest | None = None
    lock: Lock = NO_LOCK
    own_layers: int = 0

    @property
    def platform(self) -> Platform:
        return self.plan.spec.platform


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an image of a spec file became: `manifest` is that of its one platform, or an index of several."""

    spec: ImageSpec
    images: tuple[BuiltImage, ...]
    manifest: Manifest

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(warning for image in self.images for warning in image.plan.warnings))


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose layers can be written."""

    spec: Spec
    plan: BuildPlan
    base: BaseImage


def annotations_of(spec: Spec, base: BaseImage) -> dict[str, str]:
    """Those of the spec, and before them what its base, its time and its labels say as well."""
    found = {BASE_NAME: base.name, BASE_DIGEST: str(base.digest)} if base.digest is not None else {}
    found |= {name: spec.config.labels[name] for name in _FROM_LABELS if name in spec.config.labels}
    if spec.timestamp:
        found[CREATED] = datetime.fromtimestamp(spec.timestamp, UTC).isoformat().replace("+00:00", "Z")
    return {**found, **spec.annotations}


def index_of(images: Sequence[BuiltImage]) -> Manifest:
    """The index of several platforms, in the order of the file (LAYERS, item 43)."""
    # What is said of each of them is said of all.
    shared = set.intersection(*(set(image.image.annotations.items()) for image in images))
    return Manifest.encode(
        ImageIndex(
            schema_version=2,
            media_type=OCI_INDEX,
            manifests=tuple(
                msgspec.structs.replace(image.manifest.descriptor, platform=image.platform.normalized())
                for image in images
            ),
            annotations=dict(shared) or None,
        )
    )
