"""YAML 1.2 to values (SPEC, rule 3: "Duplicate keys, unknown keys and tabs are errors with `file:line:col`")."""

import contextlib
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from layerkit.document import parse
from layerkit.document.parse import MAX_ALIASED, MAX_DEPTH, parse_document
from layerkit.document.problem import DocumentError, Problem, Source
from layerkit.document.scalars import parse_text
from layerkit.document.tree import Scalar

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SYNTAX = "[]{}:,-?&*!|>'\"%@`# \n\ta$<~0"


def refuse(text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as caught:
        parse_document(text, "f.yaml")
    return [(str(problem), problem.hint) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "typed", ["no", "yes", "on", "22:30", "0755", "0o755", "1_000", "1.10", "1e3", "2026-01-02", "true", "0x10", ".inf"]
)
def test_scalars_come_out_as_they_were_typed(typed: str) -> None:
    """Rule 3: "YAML 1.2 core scalars (PyYAML's 1.1 rules turn `no`, `22:30`, `0755`, `1_000`, dates into something else)"."""  # noqa: E501
    assert parse_document(f"a: {typed}", "f.yaml").values == {"a": typed}


@pytest.mark.parametrize("typed", ["", "~", "null", "Null", "NULL", "# comment"])
def test_plain_nulls_are_none(typed: str) -> None:
    """YAML 1.2.2, 10.3.2: `null | Null | NULL | ~` and the empty scalar."""
    assert parse_document(f"a: {typed}\nb: 1", "f.yaml").values == {"a": None, "b": "1"}


@pytest.mark.parametrize("typed", ['"null"', "'~'", '""', "nULL"])
def test_quoted_nulls_are_text(typed: str) -> None:
    value = parse_document(f"a: {typed}", "f.yaml").values
    assert isinstance(value, dict)
    assert isinstance(value["a"], Scalar)


def test_a_scalar_knows_whether_it_was_plain() -> None:
    values = parse_document("[a, 'b', \"c\", ]", "f.yaml").values
    assert isinstance(values, list)
    assert [(value, value.plain) for value in values if isinstance(value, Scalar)] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]


@given(TEXT)
def test_any_text_in_quotes_is_the_same_text_again(text: str) -> None:
    quoted = yaml.safe_dump(text, default_style='"', allow_unicode=False, width=10**6)
    values = parse_document(f"a: {quoted}", "f.yaml").values
    assert isinstance(values, dict)
    assert values["a"] == text
    if "\0" not in text:
        assert parse_text(values["a"]) == text


def find_problems(text: str | bytes) -> tuple[Problem, ...]:
    try:
        document = parse_document(text, "f.yaml")
    except DocumentError as error:
        return error.problems
    assert document.values is not None
    document.locate(("a", 0), key=True)
    return ()


@given(st.one_of(st.text(), st.text(SYNTAX), st.binary()))
def test_garbage_parses_or_is_refused_and_nothing_else(text: str | bytes) -> None:
    for problem in find_problems(text):
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.render()


@given(st.text(SYNTAX))
def test_garbage_is_refused_by_the_slow_parser_too(text: str) -> None:
    """Where libyaml is missing, PyYAML's own parser takes its place."""
    composer = parse._Composer(Source("f.yaml", tuple(text.split("\n"))))
    with contextlib.suppress(DocumentError):
        composer.compose(text, yaml.SafeLoader)


def test_positions_of_values_and_keys() -> None:
    document = parse_document("a:\n  - b: {c: é, d: 2}\n    e:\n", "f.yaml")
    path = ("a", 0, "b", "d")
    assert str(document.locate(path)) == "f.yaml:2:18"
    assert str(document.locate(path, key=True)) == "f.yaml:2:15"
    assert str(document.locate(("a",), key=True)) == "f.yaml:1:1"
    assert str(document.locate(("a", 0))) == "f.yaml:2:5"


def test_a_value_that_is_not_there_is_located_at_its_nearest_parent() -> None:
    document = parse_document("a:\n  - b: 1\n", "f.yaml")
    assert str(document.locate(("a", 0, "b", "x", 3))) == "f.yaml:2:8"
    assert str(document.locate(("a", 7))) == "f.yaml:2:3"
    assert str(document.locate(("a", 7), key=True)) == "f.yaml:1:1"
    assert str(document.locate(("z",))) == "f.yaml:1:1"


def test_a_value_that_is_missing_stands_at_its_key() -> None:
    assert str(parse_document("a: 1\nb:\n\n\nc: 2", "f.yaml").locate(("b",))) == "f.yaml:2:1"


def test_an_alias_is_the_same_value_once_more() -> None:
    document = parse_document("a: &x {b: 1}\nc: *x", "f.yaml")
    assert document.values == {"a": {"b": "1"}, "c": {"b": "1"}}
    assert str(document.locate(("c", "b"))) == "f.yaml:1:11"
    assert str(document.locate(("c",), key=True)) == "f.yaml:2:1"


def test_aliases_cannot_multiply_without_end() -> None:
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    message = f"the aliases of this file stand for more than {MAX_ALIASED} values"
    assert refuse("\n".join(laughs)) == [(f"f.yaml:4:10: {message}", "")]


def test_nesting_has_an_end() -> None:
    assert refuse("[" * 500) == [(f"f.yaml:1:{MAX_DEPTH + 1}: more than {MAX_DEPTH} levels of nesting", "")]
    # libyaml may give up before we do.
    ((place_and_message, hint),) = refuse("[" * 100_000)
    assert "levels of nesting" in place_and_message
    assert hint == ""
    parse_document("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """YAML 1.2.2, 5.2: "the stream may start with an optional byte order mark"."""
    assert parse_document(b"\xef\xbb\xbfa: 1", "f.yaml").values == {"a": "1"}


def test_tabs_within_texts_are_text() -> None:
    text = 'a: |\n  all:\n  \tmake\nb: "x\n\ty"\nc:\tz\n'
    assert parse_document(text, "f.yaml").values == {"a": "all:\n\tmake\n", "b": "x y", "c": "z"}


def test_several_problems_are_shown_at_once() -> None:
    assert refuse("a: 1\na: 2\n? [b]\n: 3\nc: !x 4\n<<: a\n") == [
        ("f.yaml:2:1: key 'a' stands here twice", "the first one is on line 1"),
        ("f.yaml:3:3: a key is text, and nothing else", "quote it"),
        ("f.yaml:5:4: tags (`!...`) have no meaning here", 'remove it; "double quotes" make any text'),
        ("f.yaml:6:1: merge keys (`<<`) are not part of YAML 1.2", "write the keys out"),
    ]


NEEDS_QUOTES = "`${...}` within [...] or {...} needs quotes: YAML takes its { for the beginning of a map"
TAB = "a tab indents this line"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("tags: [img:${TAG}]", f"1:8: {NEEDS_QUOTES}", 'write "img:${TAG}"'),
        ("a: {b: ${TAG:-x y}, c: 1}", f"1:8: {NEEDS_QUOTES}", 'write "${TAG:-x y}"'),
        ("a: [x,\n  r/${A}/${B}-c]", f"2:3: {NEEDS_QUOTES}", 'write "r/${A}/${B}-c"'),
        ("a:\n\t- b", f"2:1: {TAB}", "indent with spaces"),
        ("\t# comment\na: b", f"1:1: {TAB}", "indent with spaces"),
        ("a: b\n\t# comment", f"2:1: {TAB}", "indent with spaces"),
        ("a: b\n \tc: d", f"2:2: {TAB}", "indent with spaces"),
        ("a: {\n\tb: 1\n}", f"2:1: {TAB}", "indent with spaces"),
        ("a: [1, 2\n", "1:4: `[` is not closed before line 2", "put `]` at its end, and `,` between"),
        ("a: [1 {b}]", "1:7: expected `,` or the closing bracket", "quote the text if it holds , [ ] { }"),
        ('a: "x', "1:4: this quote is never closed", "put the same quote at its end"),
        ("a: *x", "1:4: nothing above is marked &x", "quote a text that begins with *"),
        ("a: **/b", "1:4: `*` begins no text without quotes", 'write "**/b"'),
        ("a: [b, *]", "1:8: `*` begins no text without quotes", 'write "*"'),
        ("a: &x [*x]", "1:8: *x stands within &x: it would have no end", ""),
        ("a: @x", "1:4: `@` may not begin a value", "quote the text"),
        (
            "a: b: c",
            "1:5: `: ` may not stand here",
            "quote the text if it holds `: `; else check how the lines are indented",
        ),
        (
            'a: "x" y',
            "1:8: expected a key, or the end of this map",
            "check quotes, and how it is indented",
        ),
        ("~: 1", "1:1: a key is text, and nothing else", "quote it"),
        ("a: 1\n---\nb: 2", "2:1: a second document begins here: one file holds one", "remove the `---`"),
        ("", "1:1: the file is empty", ""),
        ("# nothing\n---\n", "1:1: the file is empty", ""),
        (
            "a: \x1b[1m",
            "1:4: character U+001B cannot be seen and may not stand here",
            'remove it, or write it as \\u001b within "double quotes"',
        ),
        ("a: \ud800", "1:4: character U+D800 cannot be seen and may not stand here", None),
        (b"a: 1\nb: \xff", "2:4: byte 0xff is not UTF-8", "save the file as UTF-8"),
        ("%YAML 3.0\n---\na: 1", "1:1: not a version of YAML that is known", "remove the %YAML line"),
    ],
)
def test_what_is_not_yaml_is_said_in_plain_english(text: str | bytes, problem: str, hint: str | None) -> None:
    """Rule 3 and 4: "The parser error of an unquoted `[img:${TAG}]` gets its own message"."""
    [(found, found_hint)] = refuse(text)
    assert found == f"f.yaml:{problem}"
    assert hint is None or found_hint == hint


def test_parsing_alone_does_not_import_pydantic() -> None:
    code = """
import sys
from layerkit.document import parse, validate
parse.parse_document('a: 1', 'f.yaml')
assert 'pydantic' not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
