"""What the headers of a registry's responses say, checked."""

import re
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from layerkit.oci.digest import Digest
from layerkit.oci.errors import BlobUploadInvalid, OCIError, SizeInvalid
from layerkit.remote.address import follow
from layerkit.remote.client import name_of

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})\Z", re.ASCII)
_UPLOAD_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,19}\Z", re.ASCII)


def absent(error: OCIError, kind: type[OCIError]) -> OCIError:
    """A 404 in whatever words means that what was asked for is not there."""
    return kind(error.message, details=error.details) if error.status == 404 else error


def content_length(response: aiohttp.ClientResponse) -> int:
    """Raises SizeInvalid where there is none."""
    if response.content_length is None or response.content_length < 0:
        raise SizeInvalid(f"{name_of(response)}: the registry did not say how long the content is")
    return response.content_length


def content_range(response: aiohttp.ClientResponse) -> tuple[int, int, int] | None:
    """`(start, stop, size)` of a 206, or None where it does not say."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2]) + 1, int(match[3])) if match is not None else None


def location(response: aiohttp.ClientResponse, default: str = "") -> str:
    """Where an upload goes on. Raises BlobUploadInvalid where neither the response nor `default` says."""
    found = response.headers.get("Location", default)
    if not found:
        raise BlobUploadInvalid(f"{name_of(response)}: the registry did not say where to upload to")
    return follow(str(response.url), found)


def with_digest(url: str, digest: Digest) -> str:
    """The Location of an upload with the digest that ends it, behind whatever query it has."""
    return f"{url}{'&' if urlsplit(url).query else '?'}digest={digest}"


def upload_offset(response: aiohttp.ClientResponse) -> int | None:
    """How many bytes an upload has, or None where the registry does not say. `0-0` is no byte, by custom."""
    match = _UPLOAD_RANGE.match(response.headers.get("Range", ""))
    if match is None:
        return None
    return int(match[1]) + 1 if match[1] != "0" else 0


def least_part(response: aiohttp.ClientResponse) -> int:
    """What each part of an upload but its last must have (distribution-spec, `OCI-Chunk-Min-Length`)."""
    text = response.headers.get("OCI-Chunk-Min-Length", "")
    return int(text) if _NUMBER.match(text) else 0
