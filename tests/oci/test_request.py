"""Requests: every call of the distribution API from its URL, and its URL from the call."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from layerkit.oci.digest import Digest
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
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.request import (
    MAX_LIMIT,
    MAX_TAGS,
    AppendUpload,
    CancelUpload,
    CommitUpload,
    DeleteBlob,
    DeleteManifest,
    GetBlob,
    GetManifest,
    GetUpload,
    HeadBlob,
    HeadManifest,
    ListReferrers,
    ListRepositories,
    ListTags,
    Ping,
    PutManifest,
    Request,
    StartUpload,
    build_url,
    parse_request,
    scopes_of,
)

EMPTY = Digest.of(b"")
APP = RepositoryName("app")

# Components that are words of the API's own paths: such names are legal, and must not confuse the router.
components = st.sampled_from(
    ["blobs", "manifests", "uploads", "tags", "referrers", "list", "catalog", "v2", "latest", "a"]
) | st.from_regex(r"[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,8})?", fullmatch=True)
repositories = st.lists(components, min_size=1, max_size=6).map(lambda parts: RepositoryName("/".join(parts)))
tags = st.sampled_from(["latest", "list", "tags", "uploads", "blobs", "_catalog"]).map(Tag) | st.from_regex(
    r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True
).map(Tag)
digests = st.binary().flatmap(lambda raw: st.sampled_from(["sha256", "sha512"]).map(lambda name: Digest.of(raw, name)))
uploads = st.sampled_from(["list", "blobs", "uploads", "manifests"]) | st.from_regex(
    r"[A-Za-z0-9_-]{1,64}", fullmatch=True
)
one = {"repository": repositories}
blob = one | {"digest": digests}
upload = one | {"upload": uploads}
manifest = one | {"reference": tags | digests}
text = st.text(st.characters(codec="utf-8"))
page: dict[str, st.SearchStrategy[Any]] = {"limit": st.none() | st.integers(0, MAX_LIMIT), "last": text}
artifact_types = st.lists(text.filter(bool), max_size=3, unique=True).map(tuple)

methods = st.text() | st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", ""])
PATH_PARTS = [
    "v2",
    "/",
    "app",
    "blobs",
    "uploads",
    "manifests",
    "tags/list",
    EMPTY,
    "%",
    "%2F",
    "%ff",
    ":",
    "?",
    "..",
    "\x00",
]
paths = st.text() | st.lists(st.sampled_from(PATH_PARTS)).map(lambda parts: "/v2/" + "".join(parts))
QUERY_PARTS = ["n=", "1", "-1", "&", "=", "digest=", EMPTY, "tag=", "mount=", "from=", "last=", "%ff", "\ud800", ";"]
queries = st.text() | st.lists(st.sampled_from(QUERY_PARTS)).map("".join)

REQUESTS: dict[str, list[st.SearchStrategy[Request]]] = {
    "GET": [
        st.just(Ping()),
        st.builds(ListRepositories, **page),
        st.builds(GetBlob, **blob),
        st.builds(GetUpload, **upload),
        st.builds(GetManifest, **manifest),
        st.builds(ListTags, **one, **page),
        st.builds(ListReferrers, **blob, artifact_types=artifact_types, **page),
    ],
    "HEAD": [st.just(Ping()), st.builds(HeadBlob, **blob), st.builds(HeadManifest, **manifest)],
    "POST": [
        st.builds(
            StartUpload,
            **one,
            digest=st.none() | digests,
            mount=st.none() | digests,
            source=st.none() | repositories,
            algorithm=st.sampled_from([None, "sha256", "sha512"]),
        )
    ],
    "PATCH": [st.builds(AppendUpload, **upload)],
    "PUT": [
        st.builds(CommitUpload, **upload, digest=digests),
        st.builds(PutManifest, **manifest, tags=st.lists(tags, max_size=3, unique=True).map(tuple)),
    ],
    "DELETE": [
        st.builds(DeleteBlob, **blob),
        st.builds(CancelUpload, **upload),
        st.builds(DeleteManifest, **manifest),
    ],
}
calls = st.sampled_from(sorted(REQUESTS)).flatmap(
    lambda method: st.tuples(st.just(method), st.one_of(REQUESTS[method]))
)


@given(calls)
def test_a_url_that_is_built_means_the_request_it_was_built_of(call: tuple[str, Request]) -> None:
    method, request = call
    url = build_url(request)
    assert parse_request(method, *url.split("?")) == request
    assert url.isascii()
    assert url.startswith("/v2/")


@given(calls)
def test_a_path_may_be_percent_encoded_as_a_whole(call: tuple[str, Request]) -> None:
    """ "percent-encoded `%3A`, `%2F` forms must work"."""
    method, request = call
    path, _, query = build_url(request).partition("?")
    encoded = path.replace(":", "%3A").replace("/", "%2f")
    assert parse_request(method, encoded, query.replace("/", "%2F").replace(":", "%3a")) == request


@given(calls, st.randoms(), st.lists(st.sampled_from(["_state=x/y", "ns=docker.io", "a", "=", "n%"]), max_size=3))
def test_a_query_may_be_in_another_order_with_unknown_parameters(
    call: tuple[str, Request], random: Any, unknown: list[str]
) -> None:
    """ "may be used with query re-encoded & re-ordered ... parse query leniently"; repeated ones keep their order."""
    method, request = call
    path, _, query = build_url(request).partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    names = list(dict.fromkeys(pair.partition("=")[0] for pair in pairs))
    random.shuffle(names)
    ordered = [pair for name in names for pair in pairs if pair.partition("=")[0] == name]
    assert parse_request(method, path, "&".join(["", *unknown, *ordered, ""])) == request


@given(methods, paths, queries)
@example("GET", "/v2/_catalog", "n=" + "9" * 5000)
def test_whatever_is_asked_is_a_request_or_an_oci_error(method: str, path: str, query: str) -> None:
    try:
        request = parse_request(method, path, query)
    except OCIError:
        return
    assert scopes_of(request) or isinstance(request, Ping)


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2%2F", "/%762/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_api_is_below_v2_with_and_without_its_slash(method: str, path: str) -> None:
    """ "`GET /v2/` (and `/v2`)"."""
    assert parse_request(method, path) == Ping()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "v2",
        "v2/",
        "/v1/",
        "/v20/",
        "//v2/",
        "/v2//",
        "/v2/app",
        "/v2/app/",
        "/v2/_catalog/",
        "/v2/tags/list",
        "/v2/manifests/latest",
        "/v2/blobs/uploads/",
        "/v2/blobs/uploads",
        "/v2/app/manifests",
        "/v2/app/manifests/",
        "/v2/app/manifests/a/b",
        "/v2/app/tags/list/",
        "/v2/app/tags",
        "/v2/app/referrers/",
        "/v2/app/blobs/",
        "/token",
    ],
)
def test_what_is_no_endpoint_is_unknown(path: str) -> None:
    with pytest.raises(EndpointUnknown) as caught:
        parse_request("GET", path)
    assert caught.value.status == 404


@pytest.mark.parametrize("path", ["/v2/app/blobs/uploads/", "/v2/app/blobs/uploads", "/v2/app%2Fblobs%2Fuploads"])
def test_the_slash_at_the_end_of_uploads_may_be_left_out(path: str) -> None:
    assert parse_request("POST", path) == StartUpload(repository=APP)


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        (
            "GET",
            "blobs/uploads/manifests/list",
            GetManifest(repository=RepositoryName("blobs/uploads"), reference=Tag("list")),
        ),
        ("GET", "manifests/tags/list", ListTags(repository=RepositoryName("manifests"))),
        ("GET", "tags/list/tags/list", ListTags(repository=RepositoryName("tags/list"))),
        (
            "GET",
            "a/manifests/b/manifests/c",
            GetManifest(repository=RepositoryName("a/manifests/b"), reference=Tag("c")),
        ),
        ("GET", f"blobs/blobs/{EMPTY}", GetBlob(repository=RepositoryName("blobs"), digest=EMPTY)),
        ("GET", "a/blobs/uploads/blobs/uploads/x", GetUpload(repository=RepositoryName("a/blobs/uploads"), upload="x")),
        ("POST", "a/blobs/uploads/blobs/uploads/", StartUpload(repository=RepositoryName("a/blobs/uploads"))),
        ("GET", f"referrers/referrers/{EMPTY}", ListReferrers(repository=RepositoryName("referrers"), digest=EMPTY)),
    ],
)
def test_paths_are_matched_from_their_end(method: str, path: str, request_: Request) -> None:
    """ "repos may contain `blobs`, `manifests`, `tags` components - route from the right"."""
    assert parse_request(method, f"/v2/{path}") == request_


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/", ("GET", "HEAD")),
        ("/v2/_catalog", ("GET",)),
        ("/v2/app/tags/list", ("GET",)),
        ("/v2/app/manifests/latest", ("DELETE", "GET", "HEAD", "PUT")),
        (f"/v2/app/referrers/{EMPTY}", ("GET",)),
        ("/v2/app/blobs/uploads/", ("POST",)),
        ("/v2/app/blobs/uploads/x", ("DELETE", "GET", "PATCH", "PUT")),
        (f"/v2/app/blobs/{EMPTY}", ("DELETE", "GET", "HEAD")),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"])
def test_an_endpoint_lists_the_methods_that_it_has(path: str, allowed: tuple[str, ...], method: str) -> None:
    if method in allowed:
        return
    with pytest.raises(MethodUnsupported) as caught:
        parse_request(method, path)
    assert caught.value.details == allowed
    assert caught.value.status == 405
    assert all(each in caught.value.message for each in allowed)


@pytest.mark.parametrize(
    ("method", "url", "kind"),
    [
        ("GET", "/v2/App/tags/list", NameInvalid),
        ("GET", "/v2/a//b/tags/list", NameInvalid),
        ("GET", "/v2//tags/list", NameInvalid),
        ("GET", "/v2/../tags/list", NameInvalid),
        ("GET", "/v2/a%252Fb/tags/list", NameInvalid),
        ("GET", "/v2/%ff/tags/list", NameInvalid),
        ("GET", f"/v2/{'a' * 256}/tags/list", NameInvalid),
        ("PUT", "/v2/app/manifests/.hidden", TagInvalid),
        ("GET", "/v2/app/manifests/sha256:baddigest", DigestInvalid),
        ("GET", "/v2/app/manifests/sha256%3Abaddigest", DigestInvalid),
        ("GET", "/v2/app/blobs/latest", DigestInvalid),
        ("GET", "/v2/app/referrers/latest", DigestInvalid),
        ("PUT", "/v2/app/blobs/uploads/x", DigestInvalid),
        ("PUT", "/v2/app/blobs/uploads/x?digest=", DigestInvalid),
        ("PUT", "/v2/app/blobs/uploads/x?digest=sha256:baddigest", DigestInvalid),
        ("POST", "/v2/app/blobs/uploads/?digest=latest", DigestInvalid),
        ("POST", "/v2/app/blobs/uploads/?digest-algorithm=md5", DigestInvalid),
        ("PUT", f"/v2/app/manifests/{EMPTY}?tag=a&tag=.b", TagInvalid),
        ("GET", "/v2/app/tags/list?n=", None),
        ("GET", "/v2/app/tags/list?n=x", PaginationInvalid),
        ("GET", "/v2/app/tags/list?n=-1", PaginationInvalid),
        ("GET", "/v2/app/tags/list?n=1.0", PaginationInvalid),
        ("GET", "/v2/app/tags/list?n=%D9%A3", PaginationInvalid),
        ("GET", "/v2/_catalog?n=+1", PaginationInvalid),
    ],
)
def test_what_is_wrong_in_a_url_has_its_own_error(method: str, url: str, kind: type[OCIError] | None) -> None:
    """ "Bad n -> 400 PAGINATION_NUMBER_INVALID"; a bad digest, tag or name has its own code, and each is a 400."""
    if kind is None:
        parse_request(method, *url.split("?"))
        return
    with pytest.raises(kind) as caught:
        parse_request(method, *url.split("?"))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("", None),
        ("n=", None),
        ("n=0", 0),
        ("n=007", 7),
        ("n=5&n=6", 6),
        (f"n={MAX_LIMIT}", MAX_LIMIT),
        (f"n={2**63 - 1}", MAX_LIMIT),
        (f"n={'9' * 5000}", MAX_LIMIT),
        (f"n={'0' * 5000}7", 7),
    ],
)
def test_a_number_of_results_is_taken_and_the_largest_clamped(query: str, limit: int | None) -> None:
    """ "n=0 -> empty & no Link; n over max -> clamp"."""
    assert parse_request("GET", "/v2/app/tags/list", query) == ListTags(repository=APP, limit=limit)


@pytest.mark.parametrize(
    ("query", "request_"),
    [
        (
            f"mount={EMPTY}&from=library/debian",
            StartUpload(repository=APP, mount=EMPTY, source=RepositoryName("library/debian")),
        ),
        (
            f"from=a%2Fb&mount={EMPTY.replace(':', '%3A')}&origin=x",
            StartUpload(repository=APP, mount=EMPTY, source=RepositoryName("a/b")),
        ),
        (f"mount={EMPTY}", StartUpload(repository=APP, mount=EMPTY)),
        (f"digest={EMPTY}", StartUpload(repository=APP, digest=EMPTY)),
        ("digest-algorithm=sha512", StartUpload(repository=APP, algorithm="sha512")),
        ("digest=&mount=&from=", StartUpload(repository=APP)),
        ("mount=latest", StartUpload(repository=APP)),
        (f"mount={EMPTY}&from=App", StartUpload(repository=APP)),
        (
            f"mount=latest&from=a&digest={EMPTY}",
            StartUpload(repository=APP, source=RepositoryName("a"), digest=EMPTY),
        ),
    ],
)
def test_an_upload_begins_as_clients_ask_for_it(query: str, request_: StartUpload) -> None:
    """ "`?mount=sha256:...&from=repo` (colon not escaped by CD; `origin=` by GG; no `from` = anonymous)"; a mount that
    cannot be is an upload, and one from a bad name is none from anywhere."""
    assert parse_request("POST", "/v2/app/blobs/uploads/", query) == request_


def test_a_manifest_is_put_with_many_tags() -> None:
    """ "`PUT .../manifests/<digest>?tag=a&tag=b`", at least 10 tags (distribution-spec 1.2)."""
    query = "&".join(f"tag=v{n}" for n in [*range(20), 3])
    request = parse_request("PUT", f"/v2/app/manifests/{EMPTY}", query)
    assert isinstance(request, PutManifest)
    assert request.tags == tuple(f"v{n}" for n in range(20))


def test_more_tags_than_a_url_holds_are_refused() -> None:
    """ "at least 10 tags, 414 above the limit"; repeated ones count as well."""
    parse_request("PUT", f"/v2/app/manifests/{EMPTY}", "&".join(["tag=a"] * MAX_TAGS))
    with pytest.raises(URITooLong) as caught:
        parse_request("PUT", f"/v2/app/manifests/{EMPTY}", "&".join(["tag=a"] * (MAX_TAGS + 1)))
    assert caught.value.status == 414


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_tag_that_cannot_be_is_not_there(method: str) -> None:
    """The conformance suite asks for `.INVALID_MANIFEST_NAME`, and for 404."""
    with pytest.raises(ManifestUnknown):
        parse_request(method, "/v2/app/manifests/.INVALID_MANIFEST_NAME")


@pytest.mark.parametrize("authority", ["http://host", "https://host:5000", "HTTP://[::1]:5000"])
def test_a_target_may_be_absolute(authority: str) -> None:
    """ "A server MUST accept the absolute-form in requests" (RFC 9112, section 3.2.2)."""
    assert parse_request("GET", f"{authority}/v2/app/tags/list") == ListTags(repository=APP)
    with pytest.raises(EndpointUnknown):
        parse_request("GET", authority)


@given(calls)
def test_a_request_needs_the_rights_of_its_repository(call: tuple[str, Request]) -> None:
    method, request = call
    scopes = [str(scope) for scope in scopes_of(request)]
    match request:
        case Ping():
            assert scopes == []
        case ListRepositories():
            assert scopes == ["registry:catalog:*"]
        case _:
            needed = {
                "GET": "push" if isinstance(request, GetUpload) else "pull",
                "HEAD": "pull",
                "POST": "pull,push",
                "PATCH": "push",
                "PUT": "push",
                # "DELETE upload needs only push right"
                "DELETE": "push" if isinstance(request, CancelUpload) else "delete",
            }
            assert scopes == [f"repository:{request.repository}:{needed[method]}"]
