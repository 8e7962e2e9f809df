"""The calls of the distribution API as values: one table parses them from URLs and builds URLs from them.

Source: distribution-spec, "Endpoints", and distribution's `/v2/_catalog`. Paths are matched from their end, because
a repository's name may itself hold `blobs`, `manifests`, `uploads` and `tags`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from layerkit.oci.digest import Digest, new_hash, shorten
from layerkit.oci.errors import (
    DigestInvalid,
    EndpointUnknown,
    ManifestUnknown,
    MethodUnsupported,
    NameInvalid,
    OCIError,
    PaginationInvalid,
    TagInvalid,
    URITooLong,
)
from layerkit.oci.reference import RepositoryName, Tag, parse_repository_name, parse_tag, parse_tag_or_digest
from layerkit.oci.scope import CATALOG, Scope, repository_scope


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """Does this host speak the protocol, and may I come in?"""


class HeadBlob(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    digest: Digest
    actions: ClassVar = ("pull",)


class GetBlob(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    digest: Digest
    actions: ClassVar = ("pull",)


class DeleteBlob(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    digest: Digest
    actions: ClassVar = ("delete",)


class StartUpload(msgspec.Struct, frozen=True, kw_only=True):
    """Begin an upload; with `digest` the body is the whole blob; with `mount` take it from repository `source`."""

    repository: RepositoryName
    digest: Digest | None = None
    mount: Digest | None = None
    source: RepositoryName | None = None
    algorithm: str | None = None
    actions: ClassVar = ("pull", "push")


class GetUpload(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    upload: str
    actions: ClassVar = ("push",)


class AppendUpload(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    upload: str
    actions: ClassVar = ("push",)


class CommitUpload(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    upload: str
    digest: Digest
    actions: ClassVar = ("push",)


class CancelUpload(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    upload: str
    actions: ClassVar = ("push",)


class HeadManifest(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    reference: Tag | Digest
    actions: ClassVar = ("pull",)


class GetManifest(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    reference: Tag | Digest
    actions: ClassVar = ("pull",)


class PutManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`tags` come beside a digest (distribution-spec 1.2)."""

    repository: RepositoryName
    reference: Tag | Digest
    tags: tuple[Tag, ...] = ()
    actions: ClassVar = ("push",)


class DeleteManifest(msgspec.Struct, frozen=True, kw_only=True):
    """With a tag only the tag goes, with a digest the manifest and its tags."""

    repository: RepositoryName
    reference: Tag | Digest
    actions: ClassVar = ("delete",)


class ListTags(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    limit: int | None = None
    last: str = ""
    actions: ClassVar = ("pull",)


class ListReferrers(msgspec.Struct, frozen=True, kw_only=True):
    repository: RepositoryName
    digest: Digest
    artifact_types: tuple[str, ...] = ()
    limit: int | None = None
    last: str = ""
    actions: ClassVar = ("pull",)


class ListRepositories(msgspec.Struct, frozen=True, kw_only=True):
    limit: int | None = None
    last: str = ""


RepositoryRequest = (
    HeadBlob
    | GetBlob
    | DeleteBlob
    | StartUpload
    | GetUpload
    | AppendUpload
    | CommitUpload
    | CancelUpload
    | HeadManifest
    | GetManifest
    | PutManifest
    | DeleteManifest
    | ListTags
    | ListReferrers
)
Request = Ping | ListRepositories | RepositoryRequest


MAX_LIMIT: Final = 2**31 - 1
"""Whoever asks for more results than this gets as many; a server's own limit is lower."""

MAX_TAGS: Final = 50
"""Tags beside a digest: at least 10 (distribution-spec 1.2), and as many of the longest fit the 8 KiB of a URL."""


def scopes_of(request: Request) -> tuple[Scope, ...]:
    """What the caller must be allowed to do. Reading the source of a mount is asked for, but not required."""
    match request:
        case Ping():
            return ()
        case ListRepositories():
            return (CATALOG,)
        case _:
            return (repository_scope(request.repository, *request.actions),)


_AUTHORITY: Final = re.compile(r"\Ahttps?://[^/]*", re.IGNORECASE)


def _parse_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise PaginationInvalid(f"invalid number of results {shorten(text)}: expected n=0, n=1, ...")
    # Go's largest number means "all"; every page is smaller than this.
    return min(int(text.lstrip("0")[:20] or "0"), MAX_LIMIT)


def _parse_algorithm(text: str) -> str:
    return new_hash(text).name


class _Parameter(msgspec.Struct, frozen=True):
    """A query parameter and the field it fills. A value of it that is wrong is an error, but for one that `spoils` a
    field: then that field is left out. Of a `repeated` one there are `most` at most."""

    name: str
    field: str
    parse: Callable[[str], Any]
    required: bool = False
    repeated: bool = False
    most: int | None = None
    spoils: str = ""


class _Endpoint(msgspec.Struct, frozen=True):
    """The segments of a path behind `/v2/`, `{field}` for a variable one, and what each method means."""

    path: str
    methods: Mapping[str, type[Request]]


_FIELDS: Final[Mapping[str, Callable[[str], Any]]] = {
    "repository": parse_repository_name,
    "digest": Digest,
    "reference": parse_tag_or_digest,
    "upload": str,
}

_ENDPOINTS: Final = (
    _Endpoint("", {"GET": Ping, "HEAD": Ping}),
    _Endpoint("_catalog", {"GET": ListRepositories}),
    _Endpoint("{repository}/tags/list", {"GET": ListTags}),
    _Endpoint(
        "{repository}/manifests/{reference}",
        {"HEAD": HeadManifest, "GET": GetManifest, "PUT": PutManifest, "DELETE": DeleteManifest},
    ),
    _Endpoint("{repository}/referrers/{digest}", {"GET": ListReferrers}),
    _Endpoint("{repository}/blobs/uploads/", {"POST": StartUpload}),
    _Endpoint(
        "{repository}/blobs/uploads/{upload}",
        {"GET": GetUpload, "PATCH": AppendUpload, "PUT": CommitUpload, "DELETE": CancelUpload},
    ),
    _Endpoint("{repository}/blobs/{digest}", {"HEAD": HeadBlob, "GET": GetBlob, "DELETE": DeleteBlob}),
)

_PAGE: Final = (_Parameter("n", "limit", _parse_limit), _Parameter("last", "last", str))
_QUERIES: Final[Mapping[type[Request], tuple[_Parameter, ...]]] = {
    StartUpload: (
        _Parameter("digest", "digest", Digest),
        # "Unable to mount": then the answer is that of an upload, and not an error ("Mounting a blob").
        _Parameter("mount", "mount", Digest, spoils="mount"),
        _Parameter("from", "source", parse_repository_name, spoils="mount"),
        _Parameter("digest-algorithm", "algorithm", _parse_algorithm),
    ),
    CommitUpload: (_Parameter("digest", "digest", Digest, required=True),),
    PutManifest: (_Parameter("tag", "tags", parse_tag, repeated=True, most=MAX_TAGS),),
    ListTags: _PAGE,
    ListRepositories: _PAGE,
    ListReferrers: (_Parameter("artifactType", "artifact_types", str, repeated=True), *_PAGE),
}
_PATHS: Final = {kind: endpoint.path for endpoint in _ENDPOINTS for kind in endpoint.methods.values()}


def parse_request(method: str, path: str, query: str = "") -> Request:
    """The call that a method, a raw path and a raw query string mean.

    Percent-encoding is undone first, `%2F` and `%3A` included. Raises EndpointUnknown or MethodUnsupported, and
    the error of whichever part of the path or query is wrong: NameInvalid, DigestInvalid, TagInvalid (ManifestUnknown
    where nothing is written), ...
    """
    segments = _split(path)
    for endpoint in _ENDPOINTS:
        captured = _match(endpoint.path.split("/"), segments)
        if captured is None:
            continue
        kind = endpoint.methods.get(method)
        if kind is None:
            allowed = sorted(endpoint.methods)
            raise MethodUnsupported(f"{method} is not supported here: use {' or '.join(allowed)}", details=allowed)
        try:
            fields = {name: _FIELDS[name](text) for name, text in captured.items()}
        except TagInvalid as error:
            if kind is PutManifest:
                raise
            # No such tag can be there: the conformance suite asks for `.INVALID_MANIFEST_NAME`, and for 404.
            raise ManifestUnknown(error.message) from error
        return kind(**fields, **_parse_query(kind, query))
    raise EndpointUnknown(f"no such endpoint: {shorten(path)}")


def build_url(request: Request) -> str:
    """The path and query of a call, percent-encoded: the inverse of `parse_request`."""
    kind = type(request)
    segments = []
    for segment in _PATHS[kind].split("/"):
        text = str(getattr(request, segment[1:-1])) if segment.startswith("{") else segment
        segments.append(quote(text, safe="/:@"))
    pairs = []
    for parameter in _QUERIES.get(kind, ()):
        value = getattr(request, parameter.field)
        values: Iterable[Any] = value if parameter.repeated else (value,)
        pairs += [(parameter.name, str(item)) for item in values if item is not None and item != ""]
    query = f"?{urlencode(pairs, safe=':/')}" if pairs else ""
    return f"/v2/{'/'.join(segments)}{query}"


def _split(path: str) -> list[str]:
    try:
        # "A server MUST accept the absolute-form in requests" (RFC 9112, section 3.2.2): clients of proxies send it.
        text = unquote(_AUTHORITY.sub("", path), errors="strict")
    except UnicodeDecodeError:
        raise NameInvalid(f"the path {shorten(path)} is not UTF-8") from None
    if text == "/v2":
        return [""]
    head, slash, rest = text.removeprefix("/").partition("/")
    if not text.startswith("/") or head != "v2" or not slash:
        raise EndpointUnknown(f"no such endpoint: {shorten(path)} (the API is below /v2/)")
    # Some clients leave the slash at the end of `blobs/uploads/` out.
    return [*rest.split("/"), ""] if rest.endswith("/blobs/uploads") else rest.split("/")


def _match(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    """The variable parts, or None. Only `{repository}`, always the first, spans several segments."""
    if pattern[0] != "{repository}":
        return {} if pattern == segments else None
    fixed = pattern[1:]
    if len(segments) <= len(fixed):
        return None
    captured = {"repository": "/".join(segments[: -len(fixed)])}
    for expected, segment in zip(fixed, segments[-len(fixed) :], strict=True):
        if expected.startswith("{"):
            if not segment:
                return None
            captured[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return captured


def _parse_query(kind: type[Request], query: str) -> dict[str, Any]:
    # Lenient, because clients order, repeat and encode a Location's query as they like: what is unknown is passed over.
    pairs = parse_qsl(query, keep_blank_values=True, encoding="utf-8", errors="replace")
    fields: dict[str, Any] = {}
    spoiled = set()
    for parameter in _QUERIES.get(kind, ()):
        texts = [text for name, text in pairs if name == parameter.name and text]
        if parameter.most is not None and len(texts) > parameter.most:
            raise URITooLong(f"{len(texts)} times `{parameter.name}=`: at most {parameter.most} in one request")
        try:
            if parameter.repeated:
                fields[parameter.field] = tuple(dict.fromkeys(parameter.parse(text) for text in texts))
            elif texts:
                fields[parameter.field] = parameter.parse(texts[-1])
            elif parameter.required:
                raise DigestInvalid(f"the query parameter `{parameter.name}` is missing")
        except OCIError:
            if not parameter.spoils:
                raise
            spoiled.add(parameter.spoils)
    return {name: value for name, value in fields.items() if name not in spoiled}
