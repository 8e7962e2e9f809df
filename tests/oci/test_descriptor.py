"""Descriptors and the JSON codec that reads them."""

import base64
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.descriptor import EMPTY, EMPTY_CONTENT, Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.platform import Platform

HEX = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
descriptors = st.builds(
    Descriptor,
    media_type=st.text(),
    digest=st.binary().map(Digest.of),
    size=st.integers(0, 2**63 - 1),
    urls=st.lists(st.text(), max_size=2).map(tuple),
    annotations=st.dictionaries(st.text(), st.text(), max_size=3),
    data=st.none() | st.text(),
    artifact_type=st.none() | st.text(),
    platform=st.none() | st.just(Platform(os="linux", architecture="arm64", variant="v8")),
)


def read(**fields: Any) -> Descriptor:
    """The descriptor of a JSON object with these fields beside the required ones."""
    required = {"mediaType": "text/plain", "digest": f"sha256:{HEX}", "size": 2}
    return decode_json(msgspec.json.encode(required | fields), Descriptor)


@given(descriptors)
def test_a_descriptor_survives_json(descriptor: Descriptor) -> None:
    raw = encode_json(descriptor)
    again = decode_json(raw, Descriptor)
    assert again == descriptor
    assert isinstance(again.digest, Digest)
    assert encode_json(again) == raw


@given(descriptors)
def test_a_bare_descriptor_has_type_digest_and_size(descriptor: Descriptor) -> None:
    bare = descriptor.bare()
    assert set(decode_json(encode_json(bare), dict[str, Any])) == {"mediaType", "digest", "size"}
    assert (bare.media_type, bare.digest, bare.size) == (descriptor.media_type, descriptor.digest, descriptor.size)


def test_the_empty_descriptor_is_the_spec_s() -> None:
    """ "application/vnd.oci.empty.v1+json", size 2, `e30=` (manifest.md, "Guidance for an Empty Descriptor")."""
    assert decode_json(encode_json(EMPTY), dict[str, Any]) == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": f"sha256:{HEX}",
        "size": 2,
        "data": "e30=",
    }
    assert base64.b64decode(EMPTY.data or "") == EMPTY_CONTENT


def test_unknown_fields_are_ignored() -> None:
    """ "Implementations MUST NOT generate an error when they encounter an unknown property" (considerations.md)."""
    assert read(unknown={"a": [1, 2]}) == read()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"size": -1}, r"\$\.size"),
        ({"size": 2**63}, r"\$\.size"),
        ({"size": "2"}, r"\$\.size"),
        ({"size": 2.5}, r"\$\.size"),
        ({"size": None}, r"\$\.size"),
        ({"size": True}, r"\$\.size"),
        ({"digest": f"sha256:{HEX.upper()}"}, r"\$\.digest"),
        ({"digest": f"sha256:{HEX[:-1]}"}, r"\$\.digest"),
        ({"digest": "md5:d41d8cd98f00b204e9800998ecf8427e"}, r"\$\.digest"),
        ({"digest": ""}, r"\$\.digest"),
        ({"digest": 5}, r"\$\.digest"),
        ({"digest": None}, r"\$\.digest"),
        ({"digest": [f"sha256:{HEX}"]}, r"\$\.digest"),
        ({"digest": {}}, r"\$\.digest"),
        ({"mediaType": None}, r"\$\.mediaType"),
        ({"annotations": {"a": 1}}, r"\$\.annotations"),
        ({"platform": {"os": "linux"}}, r"\$\.platform"),
    ],
)
def test_a_descriptor_is_refused_with_the_path_of_what_is_wrong(fields: dict[str, Any], path: str) -> None:
    """A size is not negative; a digest has an allowed algorithm and lower-case digits of the right number."""
    with pytest.raises(ValueError, match=path):
        read(**fields)


@given(st.binary() | JSON.map(msgspec.json.encode))
def test_any_bytes_are_a_descriptor_or_a_value_error(raw: bytes) -> None:
    try:
        descriptor = decode_json(raw, Descriptor)
    except ValueError:
        return
    assert descriptor.size >= 0


@given(JSON.filter(lambda value: not isinstance(value, str)))
def test_a_digest_that_is_no_string_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="expected a string"):
        decode_json(msgspec.json.encode(value), Digest)


@given(JSON)
def test_the_canonical_form_is_stable(value: object) -> None:
    raw = encode_json(value)
    assert decode_json(raw, object) == value
    assert encode_json(decode_json(raw, object)) == raw


def test_the_canonical_form_has_sorted_keys_no_spaces_and_no_newline() -> None:
    """Canonical serialisation: UTF-8, sorted keys, no spaces, no trailing newline."""
    assert (
        encode_json({"b": 1, "a": {"d": "\u00e4\u2603", "c": []}}) == '{"a":{"c":[],"d":"\u00e4\u2603"},"b":1}'.encode()
    )


def test_a_digest_is_written_as_a_string() -> None:
    assert encode_json([Digest.of(b"{}")]) == f'["sha256:{HEX}"]'.encode()


@pytest.mark.parametrize("value", [MappingProxyType({"a": 1}), {"a": object()}, [ValueError("x")]])
def test_what_json_has_no_form_for_is_refused_rather_than_written_as_its_repr(value: object) -> None:
    with pytest.raises(TypeError):
        encode_json(value)


@pytest.mark.parametrize("depth", [1_000, 10_000, 1_000_000])
def test_json_that_is_nested_too_deep_is_a_value_error(depth: int) -> None:
    """ "JSON 4 MiB and depth 100" bound what a reader has to bear; what bursts the stack is never tried."""
    with pytest.raises(ValueError, match="nested too deep"):
        decode_json(b"[" * depth + b"]" * depth, object)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{", b"{} {}", b"\xef\xbb\xbf{}", b"{'a':1}", b"NaN", b"1" * 5000])
def test_what_is_not_one_json_value_in_utf8_is_a_value_error(raw: bytes) -> None:
    """ "Trailing garbage after JSON refused by CD on read -> refuse on write"."""
    with pytest.raises(ValueError, match=r"."):
        decode_json(raw, object)
