"""Images as others make them, to build on: written by hand, with Python's tarfile and json, sharing no code of ours."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes, content: bytes = b"", **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def file(name: str, content: bytes = b"", **fields: Any) -> Member:
    return member(name, tarfile.REGTYPE, content, **fields)


def folder(name: str, **fields: Any) -> Member:
    return member(name, tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, target: str) -> Member:
    return member(name, tarfile.SYMTYPE, linkname=target, mode=0o777)


def make_tar(*members: Member) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def compress(raw: bytes) -> bytes:
    """By gzip, and each time the same: else the second in which it is done is in it."""
    return gzip.compress(raw, mtime=0)


class HandmadeLayout:
    """An OCI image layout. What it makes are descriptors, as JSON objects."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._entries: list[dict[str, Any]] = []

    def put(self, raw: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
        digest = digest_of(raw)
        self.path_of(digest).write_bytes(raw)
        return {"mediaType": media_type, "digest": digest, "size": len(raw), **fields}

    def path_of(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "/")

    def image(
        self,
        *layers: bytes,
        platform: str = "linux/amd64",
        stored: Callable[[bytes], bytes] = compress,
        layer_type: str = f"{LAYER}+gzip",
        layer_fields: Mapping[str, Any] | None = None,
        manifest_type: str = MANIFEST,
        config_type: str = CONFIG,
        annotations: Mapping[str, str] | None = None,
        **config: Any,
    ) -> dict[str, Any]:
        """An image of these tars; `config` are keys of its config."""
        os, architecture, *variant = platform.split("/")
        document = {
            "os": os,
            "architecture": architecture,
            **({"variant": variant[0]} if variant else {}),
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            "history": [{"created_by": f"step {number}"} for number in range(len(layers))],
            **config,
        }
        descriptors = [self.put(stored(layer), layer_type, **(layer_fields or {})) for layer in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": self.put(json.dumps(document, indent=1).encode(), config_type),
            "layers": descriptors,
            **({"annotations": annotations} if annotations else {}),
        }
        return self.put(json.dumps(manifest, indent=1).encode(), manifest_type)

    def index(
        self, children: Sequence[tuple[dict[str, Any], str | None]], *, media_type: str = INDEX
    ) -> dict[str, Any]:
        """An index of images, each with its platform, as `linux/arm/v7`."""
        manifests = []
        for descriptor, platform in children:
            entry = dict(descriptor)
            if platform is not None:
                os, architecture, *variant = platform.split("/")
                entry["platform"] = {"os": os, "architecture": architecture}
                if variant:
                    entry["platform"]["variant"] = variant[0]
            manifests.append(entry)
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
        return self.put(json.dumps(document).encode(), media_type)

    def name(self, descriptor: dict[str, Any], tag: str = "1") -> str:
        """List the image under a tag; the answer is its digest."""
        self._entries.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._entries}
        (self.root / "index.json").write_text(json.dumps(index))
        return str(descriptor["digest"])


def read_layer(root: Path, descriptor: Mapping[str, Any]) -> dict[str, tarfile.TarInfo]:
    """The entries of a layer, in their order, of the layout at `root`."""
    raw = (root / "blobs" / str(descriptor["digest"]).replace(":", "/")).read_bytes()
    if str(descriptor["mediaType"]).endswith("gzip"):
        raw = gzip.decompress(raw)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {info.name: info for info in tar}
