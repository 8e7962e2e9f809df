"""The shape of a layer: packages, copies, fetches, directories, links and removals."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, PlainValidator, ValidationInfo, model_validator

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import describe
from layerkit.document.types import Boolean, ListOf, MapOf, StringList, Text
from layerkit.oci.digest import Digest
from layerkit.spec import paths, text, web
from layerkit.spec.bases import parse_base
from layerkit.spec.capabilities import parse_capabilities
from layerkit.spec.model import Base, Scratch
from layerkit.spec.shape_apt import AptShape
from layerkit.spec.shape_python import PythonShape
from layerkit.spec.shape_types import (
    DESTINATION_WORDS,
    OWNED_WORDS,
    Count,
    Destination,
    LinkPath,
    LinkTarget,
    OwnedShape,
    parsed,
)


def _parse_origin(value: object) -> Base:
    base = parse_base(value)
    if isinstance(base, Scratch):
        raise InvalidValue("scratch is empty: there is nothing to copy from it", "name an image")
    return base


def _parse_source(value: object, info: ValidationInfo) -> str:
    # Of a `from` that is wrong itself nothing is known, and this one may be right.
    if "origin" in info.data and info.data["origin"] is None:
        return paths.parse_source(value)
    return paths.parse_image_source(value)


def _check_capabilities(value: object) -> str:
    parse_capabilities(value)
    return " ".join(str(value).split())


class CopyShape(OwnedShape):
    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["src"]}, {"required": ["content"]}]})

    short_form: ClassVar = {"type": "string", "description": "SOURCE:DESTINATION", "pattern": r":/|\$\{"}
    other_words: ClassVar = {
        "source": "src",
        "path": "src",
        **DESTINATION_WORDS,
        "text": "content",
        "data": "content",
        "inline": "content",
        **OWNED_WORDS,
        "ignore": "exclude",
        "except": "exclude",
        "image": "from",
        "stage": "from",
        "capabilities": "caps",
        "cap": "caps",
        "setcap": "caps",
        "timestamp": "mtime",
        "times": "mtime",
    }
    elsewhere: ClassVar = {"url": "write it under `fetch:`", "extract": "archives are unpacked by `fetch:`"}

    origin: Annotated[Base, parsed(_parse_origin)] | None = Field(default=None, alias="from")
    """Copy from an image, not from the folder of this file: another image of the file, a reference, `oci:DIR`..."""
    src: Annotated[str, PlainValidator(_parse_source, json_schema_input_type=str)] | None = None
    """A path or a glob below the folder of this file; with `from`, an absolute one in that image."""
    content: Text | None = None
    """The text of the file, in the place of `src`."""
    dest: Destination
    """Absolute path in the image. A `/` at its end means \"into this directory\"."""
    exclude: StringList = ()
    """Patterns of what not to copy, as in a .gitignore: `["**/*.map", "!keep.map"]`."""
    caps: Annotated[str, parsed(_check_capabilities)] | None = None
    """File capabilities, as setcap takes them: `cap_net_bind_service=ep`."""
    mtime: Literal["epoch", "source"] = "epoch"
    """`source` keeps the times of the files; by default all are 1970-01-01, so that the layer stays the same."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        if isinstance(value, str):
            return text.parse_short_copy(value)._asdict()
        if not isinstance(value, dict):
            raise InvalidValue(f"expected `src:dest` or a map, found {describe(value)}")
        return value

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if (self.src is None) == (self.content is None):
            found = "neither" if self.src is None else "both"
            raise InvalidValue(f"expected `src` or `content`, found {found}", "`src` is a file, `content` its text")
        if self.content is None:
            return self
        if self.dest.endswith("/"):
            raise InvalidValue(f"`content` needs the name of its file, and {self.dest} is a directory")
        for key, is_given in (
            ("exclude", bool(self.exclude)),
            ("from", self.origin is not None),
            ("caps", self.caps is not None),
            ("mtime", self.mtime == "source"),
        ):
            if is_given:
                raise InvalidValue(f"`{key}` goes with `src`, not with `content`", "remove it")
        return self


class FetchShape(OwnedShape):
    other_words: ClassVar = {
        "src": "url",
        "source": "url",
        "uri": "url",
        "href": "url",
        **DESTINATION_WORDS,
        "checksum": "sha256",
        "digest": "sha256",
        "sha": "sha256",
        "hash": "sha256",
        "unpack": "extract",
        "untar": "extract",
        "strip_components": "strip",
        "strip_prefix": "strip",
        **OWNED_WORDS,
    }

    url: Annotated[str, parsed(web.parse_url, "^[Hh][Tt][Tt][Pp][Ss]?://")]
    """Where the file is, with https or http."""
    dest: Destination
    """Absolute path in the image. A `/` at its end means \"into this directory\"."""
    sha256: Annotated[Digest, parsed(web.parse_sha256, "^\\s*([Ss][Hh][Aa]256:)?[0-9a-fA-F]{64}\\s*$")] | None = None
    """The SHA-256 that the file must have, 64 hexadecimal digits."""
    extract: Boolean = False
    """Unpack the archive (tar, also compressed, or zip) into the directory `dest`."""
    strip: Count = 0
    """With `extract`: how many leading components of each path to leave out."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_map(cls, value: object) -> object:
        if isinstance(value, str):
            url, _, dest = value.rpartition(":/")
            is_short = url.startswith(("http://", "https://"))
            raise InvalidValue(
                f"expected a map, found {describe(value)}",
                f'write {{url: "{url}", dest: "/{dest}"}}' if is_short else "write {url: ..., dest: ...}",
            )
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.extract and not self.dest.endswith("/"):
            raise InvalidValue(
                f"an archive is unpacked into a directory, and {self.dest} names a file", f"write {self.dest}/"
            )
        if self.strip and not self.extract:
            raise InvalidValue("`strip` goes with `extract: true`", "remove it")
        if self.dest.endswith("/") and not self.extract and not web.file_name(self.url):
            raise InvalidValue(f"no file is named by {self.url}, and none by {self.dest}", f"write {self.dest}NAME")
        return self


class DirectoryShape(OwnedShape):
    short_form: ClassVar = {"type": "string", "description": "Absolute path in the image.", "pattern": r"^/|\$\{"}
    other_words: ClassVar = {
        "dest": "path",
        "dst": "path",
        "destination": "path",
        "target": "path",
        "name": "path",
        **OWNED_WORDS,
    }

    path: Annotated[str, parsed(paths.parse_directory_path, "^/")]
    """Absolute path in the image."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_one_mode(self) -> Self:
        if self.mode is not None and self.dir_mode is not None:
            raise InvalidValue("the mode is given twice, by `mode` and by `dir_mode`", "remove `dir_mode`")
        return self


class LayerShape(OwnedShape):
    other_words: ClassVar = {
        "files": "copy",
        "file": "copy",
        "add": "copy",
        "paths": "copy",
        "links": "symlink",
        "symlinks": "symlink",
        "link": "symlink",
        "directories": "directory",
        "dirs": "directory",
        "dir": "directory",
        "mkdir": "directory",
        "folders": "directory",
        "delete": "remove",
        "rm": "remove",
        "whiteout": "remove",
        "whiteouts": "remove",
        "download": "fetch",
        "downloads": "fetch",
        "url": "fetch",
        "urls": "fetch",
        "packages": "apt",
        "deb": "apt",
        "debs": "apt",
        "debian": "apt",
        "pip": "python",
        "wheels": "python",
        "wheel": "python",
        "venv": "python",
        "requirements": "python",
        **OWNED_WORDS,
    }
    elsewhere: ClassVar = {
        "users": "`users:` stands beside `layers:`",
        "run": "nothing is run: copy what another tool has made",
        "from": "`from` goes with one copy: {from: ..., src: ..., dest: ...}",
        "exclude": "`exclude` goes with one copy: {src: ..., dest: ..., exclude: [...]}",
    }
    name: Annotated[str, parsed(text.parse_layer_name)] | None = None
    """Shown in the image's history; `layer-N` by default."""
    apt: AptShape | None = None
    """Debian packages, and all that they depend upon: a list, or a map."""
    python: PythonShape | None = None
    """Python wheels, as an environment in a folder: the name of a requirements.txt or a lock, or a map."""
    copies: ListOf[CopyShape] = Field(default=(), alias="copy")
    """Files of the folder of this file, of another image, or whose content stands here: `src:dest` or a map."""
    fetch: ListOf[FetchShape] = ()
    """Files from the web."""
    directory: ListOf[DirectoryShape] = ()
    """Directories to make, or to give an owner and a mode: a path or a map."""
    symlink: MapOf[LinkPath, LinkTarget] = Field(default_factory=dict)
    """Symbolic links: where each one stands, and where it leads."""
    remove: ListOf[Annotated[str, parsed(paths.parse_removal, "^/.")]] = ()
    """Paths and globs of what to delete of the layers below."""

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if not any((self.apt, self.python, self.copies, self.fetch, self.directory, self.symlink, self.remove)):
            raise InvalidValue(
                "the layer is empty",
                "give it an `apt`, `python`, `copy`, `fetch`, `directory`, `symlink` or `remove`, or remove it",
            )
        return self
