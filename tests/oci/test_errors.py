"""Errors: over the wire and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci import errors
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError, decode_error, encode_error

KINDS = sorted([*OCIError.__subclasses__(), *errors.Denied.__subclasses__()], key=lambda kind: kind.__name__)
JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)

# distribution-spec, "Error Codes", and the four of distribution.
CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
} | {"TAG_INVALID", "RANGE_INVALID", "PAGINATION_NUMBER_INVALID", "UNAVAILABLE", "UNKNOWN"}


def test_every_code_of_the_spec_has_an_exception_and_no_other_has() -> None:
    assert {kind.code for kind in KINDS} == CODES


def test_code_and_status_together_name_one_exception() -> None:
    assert len({(kind.code, kind.status) for kind in KINDS}) == len(KINDS)


def test_the_tree_in_the_module_s_docstring_names_every_exception() -> None:
    documented = errors.__doc__ or ""
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in documented] == []


@pytest.mark.parametrize("kind", KINDS)
@given(message=st.text(), details=st.lists(JSON, max_size=4))
def test_an_error_comes_back_as_what_it_was(kind: type[OCIError], message: str, details: list[Any]) -> None:
    sent = kind(message, details=details)
    received = decode_error(sent.status, encode_error(sent), context="GET /v2/x")
    assert (type(received), received.status, received.code) == (kind, kind.status, kind.code)
    assert received.details == sent.details
    assert received.message == f"GET /v2/x: {sent.message} ({kind.code})"


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_message_the_summary_speaks(kind: type[OCIError]) -> None:
    assert str(kind()) == kind.summary
    assert json.loads(encode_error(kind())) == {"errors": [{"code": kind.code, "message": kind.summary}]}


def test_there_is_an_entry_for_each_detail() -> None:
    """ "Missing blob/child -> MANIFEST_BLOB_UNKNOWN, one error entry per missing digest"."""
    digests = [Digest.of(b"a"), Digest.of(b"b")]
    body = json.loads(encode_error(errors.ManifestBlobUnknown("missing", details=digests)))
    assert body == {
        "errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "missing", "detail": each} for each in digests]
    }


@given(st.integers(100, 599), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_decoding_never_raises_whatever_the_body(status: int, body: bytes) -> None:
    error = decode_error(status, body, context="HEAD https://example.com/v2/")
    assert isinstance(error, OCIError)
    assert error.message.startswith("HEAD https://example.com/v2/: ")


@given(st.integers(100, 599), st.lists(st.fixed_dictionaries({}, optional={
    "code": st.sampled_from([*sorted(CODES), "NOT_FOUND", "", None, 5]),
    "message": st.none() | st.text(),
    "detail": JSON,
    "more": JSON,
}), max_size=3))  # fmt: skip
def test_decoding_never_raises_whatever_the_entries(status: int, entries: list[dict[str, Any]]) -> None:
    error = decode_error(status, json.dumps({"errors": entries}).encode(), context="GET x")
    assert all(detail is not None for detail in error.details)
    assert encode_error(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"<html>502 Bad Gateway</html>",
        b"{}",
        b"[]",
        b"null",
        b'{"errors":null}',
        b'{"errors":[]}',
        b'{"errors":["x"]}',
        b'{"errors":[{}]}',
        b'{"errors":[{"code":"BLOB_UNKNOWN","detail":1e999}]}',
        b'{"errors":[{"code":"BLOB_UNKNOWN","detail":' + b"1" * 5000 + b"}]}",
        b'{"errors":[{"code":"BLOB_UNKNOWN","detail":' + b"[" * 10_000 + b"]" * 10_000 + b"}]}",
        b'{"details":"unauthorized"}',
    ],
)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthorized),
        (403, errors.Denied),
        (405, errors.MethodUnsupported),
        (413, errors.ManifestTooLarge),
        (416, errors.RangeInvalid),
        (429, errors.TooManyRequests),
        (503, errors.Unavailable),
        (507, errors.StorageFull),
        (404, errors.EndpointUnknown),
        (502, errors.Unknown),
    ],
)
def test_where_the_body_says_nothing_the_status_does(body: bytes, status: int, kind: type[OCIError]) -> None:
    error = decode_error(status, body, context="GET x")
    assert type(error) is kind
    assert f"HTTP status {status}" in error.message


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "MANIFEST_UNKNOWN", errors.ManifestUnknown),
        (404, "UNSUPPORTED", errors.EndpointUnknown),
        (400, "UNSUPPORTED", errors.Unsupported),
        (415, "UNSUPPORTED", errors.Unsupported),
        (400, "SIZE_INVALID", errors.SizeInvalid),
        (413, "SIZE_INVALID", errors.ManifestTooLarge),
        (413, "MANIFEST_INVALID", errors.ManifestTooLarge),
        (416, "BLOB_UPLOAD_INVALID", errors.RangeInvalid),
        (401, "DENIED", errors.Unauthorized),
        (403, "UNAUTHORIZED", errors.Denied),
        (400, "DENIED", errors.Denied),
        (429, "UNKNOWN", errors.TooManyRequests),
        (404, "NOT_FOUND", errors.EndpointUnknown),
        (500, "UNKNOWN", errors.Unknown),
    ],
)
def test_code_and_status_then_a_telling_status_then_the_code_decide(
    status: int, code: str, kind: type[OCIError]
) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "why"}]}).encode()
    error = decode_error(status, body, context="GET x")
    assert type(error) is kind
    assert error.message == f"GET x: why ({code})"


def test_an_entry_needs_only_its_code() -> None:
    """ "The message field is OPTIONAL ... The detail field is OPTIONAL" (distribution-spec, "Error Codes")."""
    for entry in ({"code": "BLOB_UNKNOWN"}, {"code": "BLOB_UNKNOWN", "message": None, "detail": None}):
        error = decode_error(404, json.dumps({"errors": [entry]}).encode(), context="GET x")
        assert isinstance(error, errors.BlobUnknown)
        assert error.details == ()


def test_reasons_that_repeat_are_said_once() -> None:
    body = encode_error(errors.ManifestBlobUnknown("missing", details=["a", "b", "c"]))
    error = decode_error(400, body, context="PUT x")
    assert error.message == "PUT x: missing (MANIFEST_BLOB_UNKNOWN)"
    assert error.details == ("a", "b", "c")
