"""The error codes of the distribution spec, one exception each: code and status are data.

OCIError
  BlobUnknown, BlobUploadInvalid, BlobUploadUnknown
  DigestInvalid, SizeInvalid, RangeInvalid
  ManifestBlobUnknown, ManifestInvalid, ManifestUnknown, ManifestTooLarge
  NameInvalid, NameUnknown, TagInvalid, PaginationInvalid
  Unauthorized, Denied, Unsupported, MethodUnsupported, EndpointUnknown, URITooLong, TooManyRequests
  Unavailable, StorageFull, Unknown
  Denied
    BlobInUse

Raised where the fact is known, by a Repository on this machine and by the client of a remote one alike, and
turned into a response in one place (`registry.handlers.errors`). Source: distribution-spec, "Error Codes";
TAG_INVALID, RANGE_INVALID, PAGINATION_NUMBER_INVALID and UNAVAILABLE are distribution's.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec


class OCIError(Exception):
    """What went wrong with a request to a registry or to any other Repository.

    `message` is for people. `details` are JSON values for programs: one entry of the response's `errors` for each.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    summary: ClassVar[str] = "unknown error"

    def __init__(self, message: str = "", *, details: Sequence[object] = ()) -> None:
        self.message = message or self.summary
        self.details = tuple(details)
        super().__init__(self.message)


class BlobUnknown(OCIError):
    code, status, summary = "BLOB_UNKNOWN", 404, "blob unknown to registry"


class BlobUploadInvalid(OCIError):
    code, status, summary = "BLOB_UPLOAD_INVALID", 400, "blob upload invalid"


class BlobUploadUnknown(OCIError):
    code, status, summary = "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry"


class DigestInvalid(OCIError):
    code, status, summary = "DIGEST_INVALID", 400, "provided digest did not match uploaded content"


class SizeInvalid(OCIError):
    code, status, summary = "SIZE_INVALID", 400, "provided length did not match content length"


class RangeInvalid(OCIError):
    """A range that the content does not have. `details` may carry where an upload stands."""

    code, status, summary = "RANGE_INVALID", 416, "invalid content range"


class ManifestBlobUnknown(OCIError):
    code, status, summary = "MANIFEST_BLOB_UNKNOWN", 400, "manifest references a manifest or blob unknown to registry"


class ManifestInvalid(OCIError):
    code, status, summary = "MANIFEST_INVALID", 400, "manifest invalid"


class ManifestUnknown(OCIError):
    code, status, summary = "MANIFEST_UNKNOWN", 404, "manifest unknown to registry"


class ManifestTooLarge(OCIError):
    code, status, summary = "SIZE_INVALID", 413, "manifest too large"


class NameInvalid(OCIError):
    code, status, summary = "NAME_INVALID", 400, "invalid repository name"


class NameUnknown(OCIError):
    code, status, summary = "NAME_UNKNOWN", 404, "repository name not known to registry"


class TagInvalid(OCIError):
    code, status, summary = "TAG_INVALID", 400, "invalid tag"


class PaginationInvalid(OCIError):
    code, status, summary = "PAGINATION_NUMBER_INVALID", 400, "invalid number of results requested"


class Unauthorized(OCIError):
    code, status, summary = "UNAUTHORIZED", 401, "authentication required"


class Denied(OCIError):
    code, status, summary = "DENIED", 403, "requested access to the resource is denied"


class BlobInUse(Denied):
    """A blob that a manifest refers to. Not a matter of rights: nobody may delete it, so it is 405 and not 403, which
    is also what the conformance suite takes for a refusal (distribution-spec, "Deleting Blobs")."""

    status, summary = 405, "blob is referenced by a manifest"


class Unsupported(OCIError):
    code, status, summary = "UNSUPPORTED", 400, "the operation is unsupported"


class MethodUnsupported(OCIError):
    """A method that the endpoint does not have. `details` are the methods it has."""

    code, status, summary = "UNSUPPORTED", 405, "the method is not supported here"


class EndpointUnknown(OCIError):
    code, status, summary = "UNSUPPORTED", 404, "no such endpoint"


class URITooLong(OCIError):
    code, status, summary = "UNSUPPORTED", 414, "the request's URL is too long"


class TooManyRequests(OCIError):
    code, status, summary = "TOOMANYREQUESTS", 429, "too many requests"


class Unavailable(OCIError):
    code, status, summary = "UNAVAILABLE", 503, "service unavailable"


class StorageFull(OCIError):
    code, status, summary = "UNAVAILABLE", 507, "no space left in the store"


class Unknown(OCIError):
    code, status, summary = "UNKNOWN", 500, "unknown error"


class _Entry(msgspec.Struct):
    # Only `code` is required, and Go programs write null for what they have not.
    code: str
    message: str | None = None
    detail: Any = None


class _Body(msgspec.Struct):
    errors: list[_Entry]


_BY_STATUS: dict[int, type[OCIError]] = {
    401: Unauthorized,
    403: Denied,
    404: EndpointUnknown,
    405: MethodUnsupported,
    413: ManifestTooLarge,
    414: URITooLong,
    416: RangeInvalid,
    429: TooManyRequests,
    503: Unavailable,
    507: StorageFull,
}


_KINDS: tuple[type[OCIError], ...] = (*OCIError.__subclasses__(), *Denied.__subclasses__())


def _subclasses_by_code() -> dict[str, type[OCIError]]:
    # The first of two classes with one code is the general one: Unsupported, SizeInvalid, Unavailable.
    table: dict[str, type[OCIError]] = {}
    for kind in _KINDS:
        table.setdefault(kind.code, kind)
    return table


_BY_CODE = _subclasses_by_code()
_BY_CODE_AND_STATUS = {(kind.code, kind.status): kind for kind in _KINDS}


def encode_error(error: OCIError) -> bytes:
    """The JSON body of an error response: `{"errors":[{"code","message","detail"}]}`, an entry for each detail."""
    entries = [{"code": error.code, "message": error.message, "detail": detail} for detail in error.details or (None,)]
    if not error.details:
        del entries[0]["detail"]
    return msgspec.json.encode({"errors": entries}, enc_hook=str)


def decode_error(status: int, body: bytes, *, context: str) -> OCIError:
    """The exception that a registry's error response stands for.

    Code and status together decide, then a telling status (401, 416, ...), then the code; the status alone where the
    body is not the spec's JSON. `context` ("HEAD https://...") opens the message, so that it names the thing.
    """
    try:
        entries = msgspec.json.decode(body, type=_Body).errors
    except (ValueError, RecursionError):
        entries = []
    if not entries:
        kind = _BY_STATUS.get(status, Unknown)
        return kind(f"{context}: HTTP status {status}, {kind.summary if kind is not Unknown else 'no reason given'}")
    code = entries[0].code
    kind = _BY_CODE_AND_STATUS.get((code, status)) or _BY_STATUS.get(status) or _BY_CODE.get(code, Unknown)
    reasons = "; ".join(dict.fromkeys(f"{entry.message or 'no message'} ({entry.code})" for entry in entries))
    details = [entry.detail for entry in entries if entry.detail is not None]
    return kind(f"{context}: {reasons}", details=details)
