"""Digests: parsing, computing and what is refused."""

import copy
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.digest import ALGORITHMS, Digest, new_hash, shorten
from layerkit.oci.errors import DigestInvalid

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

digests = st.sampled_from(sorted(ALGORITHMS)).flatmap(
    lambda algorithm: st.from_regex(rf"{algorithm}:[0-9a-f]{{{ALGORITHMS[algorithm]}}}", fullmatch=True)
)


@given(digests)
def test_a_well_formed_digest_parses_to_itself(text: str) -> None:
    digest = Digest(text)
    assert digest == text
    assert f"{digest.algorithm}:{digest.encoded}" == text
    assert digest.short == text.partition(":")[2][:12]


@given(st.binary(), st.sampled_from(sorted(ALGORITHMS)))
def test_the_digest_of_content_is_its_hash(content: bytes, algorithm: str) -> None:
    """`digest ::= algorithm ":" encoded`, and `encoded` is "the lower-case hexadecimal of H(C)" (descriptor.md)."""
    assert Digest.of(content, algorithm) == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@given(st.lists(st.binary()), st.sampled_from(sorted(ALGORITHMS)))
def test_hashing_in_pieces_gives_the_digest_of_the_whole(pieces: list[bytes], algorithm: str) -> None:
    digester = new_hash(algorithm)
    for piece in pieces:
        digester.update(piece)
    assert Digest.from_hash(digester) == Digest.of(b"".join(pieces), algorithm)


@given(st.text())
def test_any_text_is_a_digest_or_is_refused(text: str) -> None:
    try:
        digest = Digest(text)
    except DigestInvalid:
        return
    assert digest == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        "sha256:baddigest",
        EMPTY.upper(),
        EMPTY.replace("e3b0", "E3B0"),
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",
        EMPTY.replace("e3b0", "e3bg"),
        EMPTY.replace("e3b0", "\u0663\u0663\u0663\u0663"),
        EMPTY.replace("sha256", "SHA256"),
        EMPTY.replace("sha256", "sha512"),
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha384:" + "0" * 96,
        "sha256+b64:" + "0" * 64,
        "../../etc/passwd:" + "0" * 64,
    ],
)
def test_what_is_no_registered_algorithm_with_its_lower_case_digits_is_refused(text: str) -> None:
    """ "the encoded portion MUST match /[a-f0-9]{64}/" (descriptor.md, SHA-256)."""
    with pytest.raises(DigestInvalid, match="digest"):
        Digest(text)


@pytest.mark.parametrize("algorithm", ["", "md5", "sha1", "SHA256", "sha3_256", "no such"])
def test_an_algorithm_that_is_not_registered_is_refused_with_those_that_are(algorithm: str) -> None:
    with pytest.raises(DigestInvalid, match="use sha256 or sha512"):
        new_hash(algorithm)


def test_an_error_repeats_only_the_beginning_of_a_long_input() -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest("sha256:" + "0" * 10_000)
    assert len(caught.value.message) < 300


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"])))
def test_shortening_keeps_short_text_whole_and_long_text_short(text: str) -> None:
    assert shorten(text) == repr(text) if len(text) <= 160 else len(shorten(text)) <= 162


def test_a_digest_survives_copying_and_pickling() -> None:
    digest = Digest(EMPTY)
    for twin in (copy.copy(digest), copy.deepcopy(digest), pickle.loads(pickle.dumps(digest))):
        assert (type(twin), twin) == (Digest, digest)
