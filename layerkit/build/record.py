"""The record of the last builds: what went into each layer, so that it can be told later why one is another.

    builds/<digest>.json    the last builds of one image of one spec file, for one platform, the newest first

Small, and of no use to a build: without it nothing but an explanation is lost. Files are replaced as a whole, and of
one that cannot be read nothing is known. Blocking.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from layerkit.build.built import BuildResult, BuiltImage, BuiltLayer
from layerkit.build.inputs import name_base
from layerkit.files import locked_folder, make_folder, replace_file
from layerkit.layer.write import FORMAT_VERSION
from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.digest import Digest
from layerkit.spec.model import Attributes, Content, Copy, Directory, Fetch, Layer, Remove, Spec, Symlink

MOST_BUILDS: Final = 5
"""Of one image and platform that differ from each other."""
MOST_FILES: Final = 1000
_VERSION: Final = 1


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One layer of a build. `steps` is what the spec says of it, `digest` is of the layer as stored."""

    name: str
    steps: tuple[str, ...]
    compression: str
    codec: str
    files: int
    size: int
    diff_id: Digest
    media_type: str
    digest: Digest


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A build that succeeded, at `built` in seconds since 1970. `base_digest` is that of a base in a registry,
    `annotations` are those of the spec."""

    built: int
    spec: str
    image: str
    platform: str
    base: str
    base_digest: Digest | None
    base_layers: tuple[Digest, ...]
    config: Digest
    manifest: Digest
    format: int
    layers: tuple[LayerRecord, ...]
    annotations: dict[str, str] = {}

    def is_same_as(self, other: "BuildRecord") -> bool:
        """Whether both made the same of the same."""
        return msgspec.structs.replace(self, built=0) == msgspec.structs.replace(other, built=0)


class _File(msgspec.Struct, frozen=True):
    version: int
    builds: tuple[BuildRecord, ...]


class Records(msgspec.Struct, frozen=True):
    """Those of a folder, `builds` beside the local store."""

    folder: Path

    def find(self, spec: Path, image: str, platform: str) -> tuple[BuildRecord, ...]:
        """The last builds of this image of this file for this platform, the newest first."""
        try:
            found = decode_json(self._path(spec, image, platform).read_bytes(), _File)
        except (OSError, ValueError):
            return ()
        return found.builds if found.version == _VERSION else ()

    def keep(self, spec: Path, result: BuildResult, *, now: int) -> None:
        """Keep what an image of the file at `spec` became. Raises OSError."""
        for image in result.images:
            self.add(spec, _record(spec, image, now))

    def add(self, spec: Path, record: BuildRecord) -> None:
        """Keep a record, unless the last build made the same. Raises OSError."""
        known = self.find(spec, record.image, record.platform)
        if known and known[0].is_same_as(record):
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        make_folder(self.folder)
        with locked_folder(self.folder):
            known = self.find(spec, record.image, record.platform)
            path = self._path(spec, record.image, record.platform)
            replace_file(path, encode_json(_File(_VERSION, (record, *known)[:MOST_BUILDS])))
            self._forget_oldest()

    def _path(self, spec: Path, image: str, platform: str) -> Path:
        key = "\0".join((str(spec.resolve()), image, platform))
        return self.folder / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.json"

    def _forget_oldest(self) -> None:
        files = sorted(self._files(), reverse=True)
        for _, path in files[MOST_FILES:]:
            path.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[int, Path]]:
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                yield path.stat().st_mtime_ns, path


def _record(path: Path, image: BuiltImage, now: int) -> BuildRecord:
    spec = image.plan.spec
    diff_ids = image.image.config.diff_ids
    return BuildRecord(
        built=now,
        spec=str(path).encode(errors="backslashreplace").decode(),
        image=str(spec.name),
        platform=str(spec.platform),
        base=name_base(spec.base),
        base_digest=image.base,
        base_layers=diff_ids[: len(diff_ids) - len(image.layers)],
        config=image.image.config.digest,
        manifest=image.manifest.digest,
        format=FORMAT_VERSION,
        layers=tuple(_record_layer(spec, layer) for layer in image.layers),
        annotations=dict(spec.annotations),
    )


def _record_layer(spec: Spec, layer: BuiltLayer) -> LayerRecord:
    planned, written = layer.planned, layer.written
    return LayerRecord(
        name=planned.name,
        steps=steps_of(spec, planned.name),
        compression=str(spec.compression),
        codec=written.codec,
        files=planned.files,
        size=planned.size,
        diff_id=written.diff_id,
        media_type=written.descriptor.media_type,
        digest=written.descriptor.digest,
    )


def steps_of(spec: Spec, name: str) -> tuple[str, ...]:
    """What the spec says of the layer of this name, a line for each thing; of the layer of its users, those."""
    layer = next((layer for layer in spec.layers if layer.name == name), None)
    if layer is not None:
        return tuple(_steps(layer))
    return tuple(
        f"user {user.name} {user.uid}:{user.gid} group {user.group} home {user.home} shell {user.shell}"
        + (f" groups {', '.join(user.groups)}" if user.groups else "")
        for user in spec.users
    )


def _steps(layer: Layer) -> Iterator[str]:
    for item in (*layer.copies, *layer.fetches, *layer.directories, *layer.symlinks, *layer.removals):
        yield _step(item)


def _step(item: Copy | Content | Fetch | Directory | Symlink | Remove) -> str:
    match item:
        case Copy():
            origin = f"{name_base(item.origin)}:" if item.origin is not None else ""
            text = f"copy {origin}{item.src} to {item.dest}"
            text += f" exclude {', '.join(item.exclude)}" if item.exclude else ""
            text += f" caps {item.capabilities}" if item.capabilities else ""
            text += " mtime source" if item.keep_mtime else ""
        case Content():
            text = f"content to {item.dest}"
        case Fetch():
            text = f"fetch {item.url} to {item.dest}"
            text += f" {item.sha256}" if item.sha256 else ""
            text += f" extract strip {item.strip}" if item.extract else ""
        case Directory():
            text = f"directory {item.path}"
        case Symlink():
            text = f"symlink {item.path} to {item.target}"
        case Remove():
            return f"remove {item.path}"
    return text + _attributes(item.attributes)


def _attributes(attributes: Attributes) -> str:
    usual = Attributes()
    text = ""
    if (attributes.user, attributes.group) != (usual.user, usual.group):
        text += f" owner {attributes.user}" + (f":{attributes.group}" if attributes.group is not None else "")
    if attributes.mode is not None:
        text += f" mode {attributes.mode:04o}"
    if attributes.dir_mode != usual.dir_mode:
        text += f" dir_mode {attributes.dir_mode:04o}"
    return text
