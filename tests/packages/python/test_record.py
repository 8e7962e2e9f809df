"""RECORD (PyPA, "Recording installed projects")."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.packages.errors import PackageError
from layerkit.packages.python.record import Hash, Row, encode_record, parse_record

VALUE = Hash.of(hashlib.sha256(b"a").digest())


def test_rows_are_read() -> None:
    text = f'a/b.py,sha256={VALUE.value},1\n"a,b",sha256={VALUE.value}==,\r\na-1.dist-info/RECORD,,\n\n'
    assert parse_record(text) == {
        "a/b.py": Row("a/b.py", VALUE, 1),
        "a,b": Row("a,b", VALUE, None),
        "a-1.dist-info/RECORD": Row("a-1.dist-info/RECORD"),
    }
    assert VALUE.digest == hashlib.sha256(b"a").digest()


def test_a_hash_in_hexadecimal_is_understood() -> None:
    """gmsh has such; installers that do not look at hashes take it."""
    assert parse_record(f"a,sha256={hashlib.sha256(b'a').hexdigest()},1")["a"].hash == VALUE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,md5=abcd,1", "which proves nothing"),
        ("a,sha1=abcd,1", "which proves nothing"),
        ("a,sha256=a b,1", "a hash for 'a' that is none"),
        ("a,sha256=abcde,1", "a hash for 'a' that is none"),
        ("a,sha256=,1", "a hash for 'a' that is none"),
        ("a,sha256=abcd,x", "a row that is none"),
        (",sha256=abcd,1", "a row that is none"),
        ("a,sha256=abcd,1,2", "a row that is none"),
        ("a,sha256=abcd,1\na,sha256=abce,1", "two rows for 'a'"),
    ],
)
def test_what_proves_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        parse_record(text)


names = st.text(st.characters(exclude_characters="\\\0\r\n", exclude_categories=["Cs"]), min_size=1)
rows = st.builds(
    Row,
    names,
    st.none() | st.builds(Hash.of, st.binary(min_size=32, max_size=32)),
    st.none() | st.integers(0, 2**40),
)


@given(st.lists(rows, unique_by=lambda row: row.path))
def test_what_is_written_is_read_again(found: list[Row]) -> None:
    assert parse_record(encode_record(found).decode()) == {row.path: row for row in found}


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(PackageError):
        parse_record(text)


def test_rows_are_written_in_the_order_of_their_paths() -> None:
    assert encode_record([Row("b", VALUE, 2), Row("a", None, None)]).splitlines()[0] == b"a,,"
