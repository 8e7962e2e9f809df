"""The web: what `fetch:` may name."""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_text
from layerkit.oci.digest import Digest, shorten

_MAX_URL: Final = 2048
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def parse_url(value: object) -> str:
    """A URL of http or https, as typed."""
    text = parse_text(value)
    if len(text) > _MAX_URL:
        raise InvalidValue(f"URL {shorten(text)} has {len(text)} characters, {_MAX_URL} are allowed")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise InvalidValue(f"URL {shorten(text)} holds what no URL can", "write spaces and other letters as %XX")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise InvalidValue(f"URL {shorten(text)} is not valid: {str(error).lower()}") from None
    if "@" in url.netloc:
        raise InvalidValue("a URL in a spec holds no user and no password", "remove what stands before the @")
    if url.scheme.lower() not in {"http", "https"}:
        hint = f"write https://{text}" if re.match(r"[\w.-]+\.[a-z]+/", text) else ""
        raise InvalidValue(f"expected a URL of http or https, found {shorten(text)}", hint)
    if not url.hostname or port == 0:
        raise InvalidValue(f"URL {shorten(text)} names no host")
    if url.fragment or text.endswith("#"):
        raise InvalidValue(f"URL {shorten(text)} has a #fragment, which no server sees", "remove it")
    return text


def file_name(url: str) -> str:
    """What a file from `url` is called, "" where the path ends in a `/`, or in no name that a file can have."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    return "" if name in {"", ".", ".."} or "/" in name or "\0" in name else name


def parse_sha256(value: object) -> Digest:
    """64 hexadecimal digits, with `sha256:` before them or without."""
    text = parse_text(value).strip().lower()
    found = _SHA256.fullmatch(text)
    if found is None:
        raise InvalidValue(
            f"expected the SHA-256 of the file, found {shorten(text)}",
            "write its 64 hexadecimal digits: `sha256sum FILE`",
        )
    return Digest(f"sha256:{found[1]}")
