"""The shape of a spec, its lowest part: types of values, and the attributes that all layers' contents share."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import Field, PlainValidator, model_validator

from layerkit.document.problem import InvalidValue
from layerkit.document.types import FileMode, Section
from layerkit.spec import accounts, paths, text


def _pattern(pattern: str) -> Any:
    """For the JSON Schema: a text that an editor can check, unless a variable makes part of it."""
    return Annotated[str, Field(pattern=rf"{pattern}|\$\{{")]


def parsed(parse: Callable[[object], object], pattern: str = "") -> PlainValidator:
    return PlainValidator(parse, json_schema_input_type=_pattern(pattern) if pattern else str)


def numbered(parse: Callable[[object], object]) -> PlainValidator:
    """Of a text that YAML also takes for a number."""
    return PlainValidator(parse, json_schema_input_type=int | str)


AbsolutePath: TypeAlias = Annotated[str, parsed(paths.parse_absolute_path, "^/")]
Destination: TypeAlias = Annotated[str, parsed(paths.parse_destination, "^/")]
LinkPath: TypeAlias = Annotated[str, parsed(paths.parse_link_path)]
LinkTarget: TypeAlias = Annotated[str, parsed(paths.parse_link_target)]
EnvName: TypeAlias = Annotated[str, parsed(text.parse_env_name)]
Port: TypeAlias = Annotated[str, numbered(text.parse_port)]
Count: TypeAlias = Annotated[int, numbered(text.parse_count)]
Account: TypeAlias = Annotated[str, parsed(accounts.parse_account)]
Id: TypeAlias = Annotated[int, numbered(accounts.parse_id)]


class OwnedShape(Section):
    """Owner, group and mode, inherited spec -> layer -> copy (SPEC, rule 7)."""

    owner: Annotated[accounts.Owner, numbered(accounts.parse_owner)] | None = None
    """User, or user and group, of what this puts into the image: `10001`, `10001:10001`, `app`, `app:www-data`."""
    group: Annotated[int | str, numbered(accounts.parse_group)] | None = None
    """Group of what this puts into the image, where `owner` names none: a number or a name."""
    mode: FileMode | None = None
    """Mode of files, octal: `"0644"`. By default 0644, or 0755 where the source is executable."""
    dir_mode: FileMode | None = None
    """Mode of folders, octal: `"0755"`, which is the default."""

    @model_validator(mode="after")
    def _names_one_group(self) -> Self:
        if self.owner and self.owner.group is not None and self.group is not None:
            raise InvalidValue("the group is given twice, by `owner` and by `group`", "remove `group`")
        return self


OWNED_WORDS: Mapping[str, str] = {
    "chown": "owner",
    "user": "owner",
    "uid": "owner",
    "gid": "group",
    "chmod": "mode",
    "file_mode": "mode",
    "permissions": "mode",
    "defaultmode": "mode",
}
DESTINATION_WORDS: Mapping[str, str] = {
    "destination": "dest",
    "dst": "dest",
    "target": "dest",
    "to": "dest",
    "into": "dest",
}
