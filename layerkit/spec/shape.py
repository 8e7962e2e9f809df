"""The shape of a spec: which keys may stand where.

These are the models that validate a file, and nobody but `load` sees them. Each Section knows the words that other
dialects (Dockerfile, compose, Kubernetes, the image config's JSON) have for its keys: SPEC, rule 1. The order of the
keys is that of the errors and of the JSON Schema.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Self, TypeAlias

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import describe
from layerkit.document.types import Duration, FileMode, ListOf, MapOf, Section, StringList, Text, TextMap, quote_list
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName
from layerkit.spec import text
from layerkit.spec.model import Base, Compression


def _parsed(parse: Callable[[object], object]) -> PlainValidator:
    return PlainValidator(parse, json_schema_input_type=str)


Filled: TypeAlias = Annotated[str, _parsed(text.parse_filled)]
AbsolutePath: TypeAlias = Annotated[str, _parsed(text.parse_absolute_path)]
Destination: TypeAlias = Annotated[str, _parsed(text.parse_destination)]
LinkPath: TypeAlias = Annotated[str, _parsed(text.parse_link_path)]
EnvName: TypeAlias = Annotated[str, _parsed(text.parse_env_name)]
Port: TypeAlias = Annotated[str, PlainValidator(text.parse_port, json_schema_input_type=int | str)]
Count: TypeAlias = Annotated[int, PlainValidator(text.parse_count, json_schema_input_type=int | str)]


class OwnedShape(Section):
    """Owner, group and mode, inherited spec -> layer -> copy (SPEC, rule 7)."""

    owner: Annotated[text.Owner, _parsed(text.parse_owner)] | None = None
    group: Annotated[int, _parsed(text.parse_group)] | None = None
    mode: FileMode | None = None
    dir_mode: FileMode | None = None

    @model_validator(mode="after")
    def _names_one_group(self) -> Self:
        if self.owner and self.owner.gid is not None and self.group is not None:
            raise InvalidValue("the group is given twice, by `owner` and by `group`", "remove `group`")
        return self


class CopyShape(OwnedShape):
    other_words: ClassVar = {
        "source": "src",
        "path": "src",
        "destination": "dest",
        "dst": "dest",
        "target": "dest",
        "to": "dest",
        "into": "dest",
        "text": "content",
        "data": "content",
        "chown": "owner",
        "user": "owner",
        "chmod": "mode",
        "ignore": "exclude",
        "except": "exclude",
    }
    later: ClassVar = frozenset({"from"})

    src: Annotated[str, _parsed(text.parse_source)] | None = None
    content: Text | None = None
    dest: Destination
    exclude: StringList = ()

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
        if self.content is not None and self.dest.endswith("/"):
            raise InvalidValue(f"`content` needs the name of its file, and {self.dest} is a directory")
        if self.content is not None and self.exclude:
            raise InvalidValue("`exclude` goes with `src`, not with `content`", "remove it")
        return self


class LayerShape(OwnedShape):
    other_words: ClassVar = {
        "files": "copy",
        "file": "copy",
        "add": "copy",
        "paths": "copy",
        "links": "symlink",
        "chown": "owner",
        "user": "owner",
        "chmod": "mode",
    }
    later: ClassVar = frozenset({"directory", "remove", "fetch", "apt", "python", "users"})

    name: Annotated[str, _parsed(text.parse_layer_name)] | None = None
    copies: ListOf[CopyShape] = Field(default=(), alias="copy")
    symlink: MapOf[LinkPath, Filled] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if not self.copies and not self.symlink:
            raise InvalidValue("the layer is empty", "give it a `copy` or a `symlink`, or remove it")
        return self


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

    user: Annotated[str, _parsed(text.parse_user)] | None = None
    workdir: AbsolutePath | None = None
    env: MapOf[EnvName, Text] = Field(default_factory=dict)
    entrypoint: StringList | None = None
    cmd: StringList | None = None
    expose: ListOf[Port] = ()
    volumes: ListOf[AbsolutePath] = ()
    labels: TextMap = Field(default_factory=dict)
    stop_signal: Annotated[str, _parsed(text.parse_signal)] | None = None
    shell: StringList | None = None
    healthcheck: HealthcheckShape | None = None


class SpecShape(OwnedShape):
    other_words: ClassVar = {
        "image": "from",
        "base": "from",
        "base_image": "from",
        "copy": "layers",
        "files": "layers",
        "add": "layers",
        "steps": "layers",
        "layer": "layers",
        "arch": "platforms",
        "archs": "platforms",
        "args": "vars",
        "arg": "vars",
        "variables": "vars",
        "command": "config.cmd",
        "environment": "config.env",
        "working_dir": "config.workdir",
        "workingdir": "config.workdir",
        "ports": "config.expose",
        **{key: f"config.{key}" for key in ConfigShape.model_fields if key != "labels"},
    }
    later: ClassVar = frozenset({"defaults", "images", "users"})

    name: Annotated[RepositoryName, _parsed(text.parse_name)] | None = None
    # Checked by `variables`, before anything else is: the values below may hold ${...}.
    vars: MapOf[Text, Text | None] = Field(default_factory=dict)
    base: Annotated[Base, _parsed(text.parse_base)] = Field(alias="from")
    tags: ListOf[Annotated[Reference, _parsed(text.parse_tag_reference)]] = ()
    platforms: ListOf[Annotated[Platform, _parsed(text.parse_platform_text)]] = ()
    layers: ListOf[LayerShape] = ()
    config: ConfigShape | None = None
    labels: TextMap = Field(default_factory=dict)
    annotations: TextMap = Field(default_factory=dict)
    timestamp: Annotated[int, PlainValidator(text.parse_timestamp, json_schema_input_type=int | str)] = 0
    compression: Annotated[Compression, _parsed(text.parse_compression)] = Compression.GZIP
