"""Types: what the values of a document may be, each with an error that says what to write instead.

A model is a Section whose fields have these types. All of them take text as it was typed, quoted or not: after
`${PORT}` was substituted nothing else tells a number from text.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, PlainValidator
from pydantic_core import CoreSchema

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import (
    parse_boolean,
    parse_byte_size,
    parse_duration,
    parse_file_mode,
    parse_integer,
    parse_text,
    quote_list,
)
from layerkit.document.tree import describe

T = TypeVar("T")
K = TypeVar("K")


class Section(BaseModel):
    """A map with known keys; any other key is an error.

    `other_words` are words of other dialects and the key that is meant; `elsewhere` are keys of the format that stand
    in another place, and the advice; `later` are those that this version does not support yet.
    """

    # Deferred: only the model of a whole document validates any, and each on its own would be built for nothing.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    other_words: ClassVar[Mapping[str, str]] = {}
    elsewhere: ClassVar[Mapping[str, str]] = {}
    later: ClassVar[frozenset[str]] = frozenset()
    short_form: ClassVar[Mapping[str, object] | None] = None
    """The JSON Schema of what may stand in the place of the map."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        return schema if cls.short_form is None else {"anyOf": [dict(cls.short_form), schema]}


def _as_list(value: object) -> tuple[object, ...]:
    if isinstance(value, list | tuple):
        return tuple(value)
    hint = ""
    if isinstance(value, str):
        hint = f"write it as a list: {quote_list([value])}"
    elif isinstance(value, dict):
        hint = "begin each item with `- `"
    raise InvalidValue(f"expected a list, found {describe(value)}", hint)


def _as_words(value: object) -> tuple[object, ...]:
    if not isinstance(value, str):
        return _as_list(value)
    try:
        words = shlex.split(value)
    except ValueError:
        words = [value]
    raise InvalidValue(f"expected a list, found {describe(value)}", f"write it as a list: {quote_list(words)}")


def _as_map(value: object) -> object:
    if isinstance(value, dict):
        return value
    hint = ""
    if isinstance(value, list) and value and all(isinstance(item, str) and "=" in item for item in value):
        # Compose's other form of `environment` and `labels`.
        pairs = {name: text for name, _, text in (item.partition("=") for item in value)}
        hint = f"write it as a map: {json.dumps(pairs, ensure_ascii=False)}"
    raise InvalidValue(f"expected a map, found {describe(value)}", hint)


def _typed(kind: type, parse: Callable[[object], object], schema: object) -> PlainValidator:
    """A value that has its type already passes: so code can build a model without writing YAML."""
    return PlainValidator(lambda value: value if type(value) is kind else parse(value), json_schema_input_type=schema)


Text: TypeAlias = Annotated[str, PlainValidator(parse_text, json_schema_input_type=str | int | float | bool)]
"""Any scalar but null, as it was typed."""

Integer: TypeAlias = Annotated[int, _typed(int, parse_integer, int | str)]
"""Decimal, 0o octal or 0x hexadecimal (YAML 1.2.2, 10.3.2)."""

Boolean: TypeAlias = Annotated[bool, _typed(bool, parse_boolean, bool | str)]
"""true or false."""

FileMode: TypeAlias = Annotated[
    int, _typed(int, parse_file_mode, int | Annotated[str, Field(pattern=r"^(0o?[0-7]{1,4}|[1-7][0-7]{3})$|\$\{")])
]
"""`"0755"`, `0755` or `0o755`; and `"1777"`, in quotes."""

Duration: TypeAlias = Annotated[timedelta, _typed(timedelta, parse_duration, str)]
"""Numbers with units `us ms s m h d`, like `1h30m`."""

ByteSize: TypeAlias = Annotated[int, _typed(int, parse_byte_size, int | str)]
"""Bytes, or a number with a unit: kB MB GB TB, KiB MiB GiB TiB."""

ListOf: TypeAlias = Annotated[tuple[T, ...], BeforeValidator(_as_list)]
"""A list, which becomes a tuple."""

StringList: TypeAlias = Annotated[tuple[Text, ...], BeforeValidator(_as_words)]
"""A list of texts, for commands: one text is refused, and its words shown as the list to paste."""

MapOf: TypeAlias = Annotated[dict[K, T], BeforeValidator(_as_map)]
"""A map with any keys, in the order of the file."""

TextMap: TypeAlias = MapOf[Text, Text]
"""A map of texts."""
