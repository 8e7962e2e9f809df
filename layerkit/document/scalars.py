"""Scalars: the texts of a document as values, each with an error that says what to write instead. Pure."""

import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import Scalar, describe
from layerkit.oci.digest import shorten


def quote_list(words: Sequence[str]) -> str:
    """A list of text to paste into a document."""
    import json  # noqa: PLC0415 - only a mistake needs it

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
