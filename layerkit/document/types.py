"""Types: what the values of a document may be, each with an error that says what to write instead.

A model is a Section whose fields have these types. All of them take text as it was typed, quoted or not: after
`${PORT}` was substituted nothing else tells a number from text.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, PlainValidator
from pydantic_core import CoreSchema

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import Scalar, describe
from layerkit.oci.digest import shorten

T = TypeVar("T")
K = TypeVar("K")


class Section(BaseModel):
    """A map with known keys; any other key is an error.

    `other_words` are words of other dialects and the key that is meant; `elsewhere` are keys of the format that stand
    in another place, and the advice; `later` are those that this version does not support yet.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    other_words: ClassVar[Mapping[str, str]] = {}
    elsewhere: ClassVar[Mapping[str, str]] = {}
    later: ClassVar[frozenset[str]] = frozenset()
    short_form: ClassVar[Mapping[str, object] | None] = None
    """The JSON Schema of what may stand in the place of the map."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        return schema if cls.short_form is None else {"anyOf": [dict(cls.short_form), schema]}


def quote_list(words: Sequence[str]) -> str:
    """A list of text to paste into a document."""
    return json.dumps(list(words), ensure_ascii=False)


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse_text(value: object) -> str:
    if not isinstance(value, str):
        hint = 'write "" for an empty text' if value is None else ""
        raise InvalidValue(f"expected text, found {describe(value)}", hint)
    if "\0" in value:
        raise InvalidValue(f"{shorten(value)} contains a NUL character")
    if _SURROGATE.search(value):
        # Of the command line: bytes that are no UTF-8 come as these.
        raise InvalidValue(f"{shorten(value)} is not UTF-8")
    return str(value)


_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")


def parse_integer(value: object) -> int:
    text = parse_text(value)
    if _INTEGER.fullmatch(text) and len(text) <= 20:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    hint = ""
    if re.fullmatch(r"[0-9]+(?:_[0-9]+)+", text):
        hint = f"write {text.replace('_', '')}"
    elif re.fullmatch(r"0+[0-9]+", text):
        hint = f"write {text.lstrip('0') or '0'}, or 0o{text.lstrip('0') or '0'} for an octal number"
    raise InvalidValue(f"expected a whole number, found {shorten(text)}", hint)


_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OTHER_BOOLEANS: Final = {
    **dict.fromkeys(("yes", "y", "on", "1", "t"), "true"),
    **dict.fromkeys(("no", "n", "off", "0", "f"), "false"),
}


def parse_boolean(value: object) -> bool:
    text = parse_text(value)
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    meant = _OTHER_BOOLEANS.get(text.lower())
    raise InvalidValue(f"expected true or false, found {shorten(text)}", f"write {meant}" if meant else "")


def parse_file_mode(value: object) -> int:
    text = parse_text(value)
    if isinstance(value, Scalar) and not value.plain and re.fullmatch(r"[1-7][0-7]{3}", text):
        # Quoted, it is no number of YAML's, and with four digits nobody reads it as decimal.
        return int(text, 8)
    digits = re.fullmatch(r"(0o|0?)([0-7]{1,4})", text)
    if digits is None:
        raise InvalidValue(f"expected an octal file mode, found {shorten(text)}", 'write it like "0755"')
    if not digits[1]:
        # YAML and people disagree on what 755 is; Docker's tools have read it both ways.
        raise InvalidValue(f"file mode {text} could be decimal or octal", f'write "0{text}"')
    return int(digits[2], 8)


_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|[smhd]))+")
_DURATION_PART: Final = re.compile(r"([0-9.]+)(ms|us|[smhd])")
_MICROSECONDS: Final = {"us": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}


def parse_duration(value: object) -> timedelta:
    text = parse_text(value)
    if len(text) > 32 or not _DURATION.fullmatch(text):
        hint = f"write {text}s" if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text) else "write it like 30s, 500ms or 1h30m"
        raise InvalidValue(f"expected a duration with its unit, found {shorten(text)}", hint)
    total = sum(Decimal(number) * _MICROSECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    try:
        return timedelta(microseconds=int(total))
    except OverflowError:
        raise InvalidValue(f"duration {shorten(text)} is too long") from None


_BYTE_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")
_UNITS: Final = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def parse_byte_size(value: object) -> int:
    text = parse_text(value)
    found = _BYTE_SIZE.fullmatch(text)
    if found and found[2] in _UNITS:
        return int(Decimal(found[1]) * _UNITS[found[2]])
    hint = "write it like 512, 64KiB, 10MB or 1.5GiB"
    if found and found[2].upper() in {"K", "M", "G", "T"}:
        hint = f"write {found[1]}{found[2].upper()}iB (powers of 1024) or {found[1]}{found[2].upper()}B (of 1000)"
    raise InvalidValue(f"expected a size in bytes, found {shorten(text)}", hint)


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
