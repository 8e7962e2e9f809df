"""JSON on the wire and on disk: one decoder and one canonical form.

What was received is never encoded again; what we write ourselves has one form, because its digest names it.
"""

from typing import Any, TypeVar

import msgspec

from layerkit.oci.errors import OCIError

T = TypeVar("T")


def _construct(kind: type, value: Any) -> Any:
    if kind is object:
        return value
    # The decoder adds the path (`$.layers[3].digest`) to a ValueError, and to nothing else.
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {type(value).__name__}")  # noqa: TRY004 - see above
    try:
        return kind(value)
    except OCIError as error:
        raise ValueError(error.message) from error


def _plain(value: Any) -> str:
    # The encoder knows str but not a kind of it. Anything else that it doesn't know must not become its repr.
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return str(value)


def decode_json(raw: bytes | str, kind: type[T]) -> T:
    """JSON to a value of `kind`, whose strings may be Digests.

    Raises ValueError with the path of what is wrong: not UTF-8, not JSON, nested too deep, another shape.
    """
    try:
        return msgspec.json.decode(raw, type=kind, dec_hook=_construct)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None


def encode_json(value: object) -> bytes:
    """The one form of our own documents: UTF-8, sorted keys, no spaces, no newline at the end.

    Raises TypeError for what JSON has no form for, ValueError for text that is not Unicode.
    """
    return msgspec.json.encode(value, enc_hook=_plain, order="sorted")
