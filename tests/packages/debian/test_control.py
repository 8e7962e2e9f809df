"""Stanzas (deb822(5))."""

import pytest

from layerkit.packages.debian.control import iter_stanzas, parse_stanza
from layerkit.packages.errors import PackageError


def test_fields_have_names_in_any_case_and_values_of_several_lines() -> None:
    found = parse_stanza("Package: a\nDESCRIPTION: short\n long\n .\n# no field\nTag:\n b\n", origin="list")
    assert found == {"package": "a", "description": "short\nlong\n.", "tag": "\nb"}


def test_stanzas_are_parted_by_empty_lines() -> None:
    found = [stanza.strip() for stanza in iter_stanzas(b"A: 1\n\n\n\nB: 2\r\n\r\nC: 3\n", origin="list")]
    assert found == [b"A: 1", b"B: 2", b"C: 3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" goes on", "list, line 1: a value goes on before any field"),
        ("A: 1\nno field", "list, line 2: expected `Field: value`"),
        ("A: 1\na: 2", "list, line 2: the field .* is there twice"),
    ],
)
def test_what_is_no_stanza_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        parse_stanza(text, origin="list")
