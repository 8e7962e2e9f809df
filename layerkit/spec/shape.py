"""The shape of a spec: which keys may stand where.

These are the models that validate a file, and nobody but `load` and `schema` sees them. Each Section knows the words
that other dialects (Dockerfile, compose, Kubernetes, the image config's JSON) have for its keys: SPEC, rule 1. The
order of the keys is that of the errors and of the JSON Schema.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, model_validator

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import describe
from layerkit.document.types import (
    Boolean,
    Duration,
    FileMode,
    ListOf,
    MapOf,
    Section,
    StringList,
    Text,
    TextMap,
    quote_list,
)
from layerkit.oci.digest import Digest
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName
from layerkit.spec import accounts, paths, text, web
from layerkit.spec.bases import parse_base
from layerkit.spec.capabilities import parse_capabilities
from layerkit.spec.model import Base, Compression, Scratch


def _parsed(parse: Callable[[object], object]) -> PlainValidator:
    return PlainValidator(parse, json_schema_input_type=str)


def _numbered(parse: Callable[[object], object]) -> PlainValidator:
    """Of a text that YAML also takes for a number."""
    return PlainValidator(parse, json_schema_input_type=int | str)


AbsolutePath: TypeAlias = Annotated[str, _parsed(paths.parse_absolute_path)]
Destination: TypeAlias = Annotated[str, _parsed(paths.parse_destination)]
LinkPath: TypeAlias = Annotated[str, _parsed(paths.parse_link_path)]
LinkTarget: TypeAlias = Annotated[str, _parsed(paths.parse_link_target)]
EnvName: TypeAlias = Annotated[str, _parsed(text.parse_env_name)]
Port: TypeAlias = Annotated[str, _numbered(text.parse_port)]
Count: TypeAlias = Annotated[int, _numbered(text.parse_count)]
Account: TypeAlias = Annotated[str, _parsed(accounts.parse_account)]
Id: TypeAlias = Annotated[int, _numbered(accounts.parse_id)]


class OwnedShape(Section):
    """Owner, group and mode, inherited spec -> layer -> copy (SPEC, rule 7)."""

    owner: Annotated[accounts.Owner, _numbered(accounts.parse_owner)] | None = None
    group: Annotated[int | str, _numbered(accounts.parse_group)] | None = None
    mode: FileMode | None = None
    dir_mode: FileMode | None = None

    @model_validator(mode="after")
    def _names_one_group(self) -> Self:
        if self.owner and self.owner.group is not None and self.group is not None:
            raise InvalidValue("the group is given twice, by `owner` and by `group`", "remove `group`")
        return self


_OWNED_WORDS: Mapping[str, str] = {
    "chown": "owner",
    "user": "owner",
    "uid": "owner",
    "gid": "group",
    "chmod": "mode",
    "file_mode": "mode",
    "permissions": "mode",
    "defaultmode": "mode",
}
_DESTINATION_WORDS: Mapping[str, str] = {
    "destination": "dest",
    "dst": "dest",
    "target": "dest",
    "to": "dest",
    "into": "dest",
}


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
    other_words: ClassVar = {
        "source": "src",
        "path": "src",
        **_DESTINATION_WORDS,
        "text": "content",
        "data": "content",
        "inline": "content",
        **_OWNED_WORDS,
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

    origin: Annotated[Base, _parsed(_parse_origin)] | None = Field(default=None, alias="from")
    src: Annotated[str, PlainValidator(_parse_source, json_schema_input_type=str)] | None = None
    content: Text | None = None
    dest: Destination
    exclude: StringList = ()
    caps: Annotated[str, _parsed(_check_capabilities)] | None = None
    mtime: Literal["epoch", "source"] = "epoch"

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
        **_DESTINATION_WORDS,
        "checksum": "sha256",
        "digest": "sha256",
        "sha": "sha256",
        "hash": "sha256",
        "unpack": "extract",
        "untar": "extract",
        "strip_components": "strip",
        "strip_prefix": "strip",
        **_OWNED_WORDS,
    }

    url: Annotated[str, _parsed(web.parse_url)]
    dest: Destination
    sha256: Annotated[Digest, _parsed(web.parse_sha256)] | None = None
    extract: Boolean = False
    strip: Count = 0

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
    other_words: ClassVar = {
        "dest": "path",
        "dst": "path",
        "destination": "path",
        "target": "path",
        "name": "path",
        **_OWNED_WORDS,
    }

    path: Annotated[str, _parsed(paths.parse_directory_path)]

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
        **_OWNED_WORDS,
    }
    elsewhere: ClassVar = {
        "users": "`users:` stands beside `layers:`",
        "run": "nothing is run: copy what another tool has made",
        "from": "`from` goes with one copy: {from: ..., src: ..., dest: ...}",
        "exclude": "`exclude` goes with one copy: {src: ..., dest: ..., exclude: [...]}",
    }
    later: ClassVar = frozenset({"apt", "python"})

    name: Annotated[str, _parsed(text.parse_layer_name)] | None = None
    copies: ListOf[CopyShape] = Field(default=(), alias="copy")
    fetch: ListOf[FetchShape] = ()
    directory: ListOf[DirectoryShape] = ()
    symlink: MapOf[LinkPath, LinkTarget] = Field(default_factory=dict)
    remove: ListOf[Annotated[str, _parsed(paths.parse_removal)]] = ()

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if not any((self.copies, self.fetch, self.directory, self.symlink, self.remove)):
            raise InvalidValue(
                "the layer is empty", "give it a `copy`, `fetch`, `directory`, `symlink` or `remove`, or remove it"
            )
        return self


class UserShape(Section):
    other_words: ClassVar = {
        "id": "uid",
        "group_id": "gid",
        "homedir": "home",
        "home_dir": "home",
        "directory": "home",
        "extra_groups": "groups",
        "supplementary": "groups",
    }

    uid: Id
    gid: Id | None = None
    group: Account | None = None
    home: Annotated[str, _parsed(accounts.parse_account_path)] | None = None
    shell: Annotated[str, _parsed(accounts.parse_account_path)] | None = None
    groups: ListOf[Account] = ()

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        """`app: 10001` is a user of this number, with a group of the same."""
        if isinstance(value, str):
            if not re.fullmatch(r"[0-9]+", value):
                raise InvalidValue(f"expected a UID or a map, found {describe(value)}", "write it like {uid: 10001}")
            return {"uid": value}
        return value


def _begins_with_its_kind(words: tuple[str, ...]) -> tuple[str, ...]:
    match words:
        case ("NONE",) | ("CMD", _, *_) | ("CMD-SHELL", _):
            return words
        case _:
            message = f"expected CMD and its words, CMD-SHELL and one text, or NONE, found {quote_list(words)}"
            raise InvalidValue(message, f"write {quote_list(('CMD', *words))}" if words else "")


class HealthcheckShape(Section):
    other_words: ClassVar = {"cmd": "test", "command": "test", "period": "interval", "disable": "test"}

    test: Annotated[StringList, AfterValidator(_begins_with_its_kind)]
    interval: Duration | None = None
    timeout: Duration | None = None
    start_period: Duration | None = None
    start_interval: Duration | None = None
    retries: Count | None = None


class ConfigShape(Section):
    other_words: ClassVar = {
        "command": "cmd",
        "args": "cmd",
        "environment": "env",
        "environments": "env",
        "working_dir": "workdir",
        "workingdir": "workdir",
        "working-dir": "workdir",
        "cwd": "workdir",
        "ports": "expose",
        "port": "expose",
        "exposedports": "expose",
        "exposed_ports": "expose",
        "uid": "user",
        "run_as": "user",
        "label": "labels",
        "health": "healthcheck",
    }
    elsewhere: ClassVar = {"annotations": "`annotations:` stands beside `config:`"}

    user: Annotated[str, _numbered(accounts.parse_user)] | None = None
    workdir: AbsolutePath | None = None
    env: MapOf[EnvName, Text] = Field(default_factory=dict)
    entrypoint: StringList | None = None
    cmd: StringList | None = None
    expose: ListOf[Port] = ()
    volumes: ListOf[AbsolutePath] = ()
    labels: TextMap = Field(default_factory=dict)
    stop_signal: Annotated[str, _numbered(text.parse_signal)] | None = None
    shell: StringList | None = None
    healthcheck: HealthcheckShape | None = None


_IMAGE_WORDS: Mapping[str, str] = {
    "image": "from",
    "base": "from",
    "base_image": "from",
    "copy": "layers",
    "files": "layers",
    "add": "layers",
    "fetch": "layers",
    "directory": "layers",
    "symlink": "layers",
    "remove": "layers",
    "steps": "layers",
    "layer": "layers",
    "arch": "platforms",
    "archs": "platforms",
    "accounts": "users",
    "command": "config.cmd",
    "environment": "config.env",
    "working_dir": "config.workdir",
    "workingdir": "config.workdir",
    "ports": "config.expose",
    **{key: f"config.{key}" for key in ConfigShape.model_fields if key not in {"labels", "user"}},
    "user": "config.user",
}


class ImageShape(OwnedShape):
    """An image under `images:`."""

    other_words: ClassVar[Mapping[str, str]] = _IMAGE_WORDS
    elsewhere: ClassVar[Mapping[str, str]] = {
        "name": "an image under `images:` is named by its key",
        "vars": "`vars:` stands at the top of the file, for all images",
        "defaults": "`defaults:` stands at the top of the file, beside `images:`",
        "images": "`images:` stands at the top of the file",
    }

    base: Annotated[Base, _parsed(parse_base)] = Field(alias="from")
    tags: ListOf[Annotated[Reference, _parsed(text.parse_tag_reference)]] = ()
    platforms: ListOf[Annotated[Platform, _parsed(text.parse_platform_text)]] = ()
    users: MapOf[Account, UserShape] = Field(default_factory=dict)
    layers: ListOf[LayerShape] = ()
    config: ConfigShape | None = None
    labels: TextMap = Field(default_factory=dict)
    annotations: TextMap = Field(default_factory=dict)
    timestamp: Annotated[int | Literal["git"], _numbered(text.parse_timestamp)] = 0
    compression: Annotated[Compression, _parsed(text.parse_compression)] = Compression()


class SpecShape(ImageShape):
    """A file that describes one image."""

    other_words: ClassVar = {**_IMAGE_WORDS, "args": "vars", "arg": "vars", "variables": "vars", "default": "defaults"}
    elsewhere: ClassVar = {"defaults": "with one image there is nothing to share: move its keys up, to the top"}

    name: Annotated[RepositoryName, _parsed(text.parse_name)] | None = None
    # Checked by `variables`, before anything else is: the values below may hold ${...}.
    vars: MapOf[Text, Text | None] = Field(default_factory=dict)
