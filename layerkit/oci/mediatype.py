"""Media types of the OCI image spec and of Docker's schema 2, and what they say of content.

Sources: image-spec, media-types.md; distribution, docs/content/spec/manifest-v2-2.md.
"""

from typing import Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_LAYER_NONDISTRIBUTABLE: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
"""A release candidate of 1.1 had it; dropped since, but registries still hold some."""
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYOUT: Final = "application/vnd.oci.layout.header.v1+json"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"
"""In no specification, but containerd reads and writes it (`images/mediatypes.go`)."""
DOCKER_LAYER_FOREIGN: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_LAYER_FOREIGN_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCTET_STREAM: Final = "application/octet-stream"

IMAGE_MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS: Final = IMAGE_MANIFESTS | INDEXES | {OCI_ARTIFACT}
SCHEMA1: Final = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})

_TO_OCI: Final = {
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_LIST: OCI_INDEX,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_LAYER_FOREIGN: OCI_LAYER_NONDISTRIBUTABLE,
    DOCKER_LAYER_FOREIGN_GZIP: OCI_LAYER_NONDISTRIBUTABLE + "+gzip",
}


def is_nondistributable(media_type: str) -> bool:
    """Whether content of this type need not be in the registry. The type alone says so, never `urls`."""
    return media_type.startswith((OCI_LAYER_NONDISTRIBUTABLE, DOCKER_LAYER_FOREIGN))


def is_layer(media_type: str) -> bool:
    """Whether content of this type is a layer of a file system."""
    return media_type.startswith(("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."))


def compression_of(layer_type: str) -> str:
    """How a layer of this type is stored: "gzip", "zstd" or "none"."""
    if layer_type.endswith(("+gzip", ".gzip")):
        return "gzip"
    return "zstd" if layer_type.endswith(("+zstd", ".zstd")) else "none"


def to_oci(media_type: str) -> str:
    """The OCI type of the same bytes; a type that is not Docker's is returned as it is."""
    return _TO_OCI.get(media_type, media_type)


def strip_parameters(content_type: str) -> str:
    """`type/subtype` in lower case, without `; charset=...`."""
    return content_type.partition(";")[0].strip().lower()
