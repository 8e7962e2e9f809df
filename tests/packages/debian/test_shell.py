"""Shell scripts as trees (POSIX, XCU 2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.packages.debian.shell import (
    LITERAL,
    Chain,
    Choice,
    Command,
    Condition,
    Function,
    Group,
    Loop,
    Negation,
    NotUnderstood,
    Statement,
    parse_script,
)


def texts(statement: Statement) -> list[str]:
    """The words of a command."""
    assert isinstance(statement, Command)
    return [word.text for word in statement.words]


def one(text: str) -> Statement:
    (statement,) = parse_script(text)
    return statement


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("a 'b c' \"d e\" f\\ g", ["a", "b c", "d e", "f g"]),
        ("a --x='1 2'", ["a", "--x=1 2"]),
        ("a \\\n  b # c", ["a", "b"]),
        ("a#b", ["a#b"]),
        ("a >/dev/null 2>&1 <x b", ["a", "b"]),
        ("a 2", ["a", "2"]),
        ('a "$(b "c" \'d)\')" `e f` ${g:-h}', ["a", "$(b \"c\" 'd)')", "`e f`", "${g:-h}"]),
        ('a "$(b "\\\' c \' {" | d)"', ["a", "$(b \"\\' c ' {\" | d)"]),
        ('a "$(b "$(c ")")")" d', ["a", '$(b "$(c ")")")', "d"]),
        ("a '$b' \\$c \"\\$d\"", ["a", f"{LITERAL}b", f"{LITERAL}c", f"{LITERAL}d"]),
        ('a "b\nc"', ["a", "b\nc"]),
        ("a <<EOF\nnot a command\nEOF\n", ["a"]),
        ("a <<-'EOF'\n\tnot a command\n\tEOF\n", ["a"]),
        ("A=1 b", ["A=1", "b"]),
    ],
)
def test_the_words_of_a_command(text: str, words: list[str]) -> None:
    assert texts(one(text)) == words


def test_chains_and_pipes_and_negations() -> None:
    chain = one("a && ! b ||\n c | d")
    assert isinstance(chain, Chain)
    (_, first), (and_, second), (or_, third) = chain.parts
    assert (texts(first), and_, or_) == (["a"], "&&", "||")
    assert isinstance(second, Negation)
    assert isinstance(third, Group)
    assert [texts(part) for part in third.body] == [["c"], ["d"]]


def test_conditions() -> None:
    found = one("if a; b\nthen\n c\nelif d; then e; else f; fi >/dev/null")
    assert isinstance(found, Condition)
    assert [(len(head or ()), len(body)) for head, body in found.branches] == [(2, 1), (1, 1), (0, 1)]
    assert found.branches[-1][0] is None


def test_choices() -> None:
    found = one('case "$1" in\n  configure|re*)\n    a\n    b\n  ;;\n  (*) c ;;\n  x) esac')
    assert isinstance(found, Choice)
    assert [[pattern.text for pattern in patterns] for patterns, _ in found.branches] == [
        ["configure", "re*"],
        ["*"],
        ["x"],
    ]
    assert [len(body) for _, body in found.branches] == [2, 1, 0]


def test_loops() -> None:
    found = one("for x in a $b 'c d'; do e; f; done")
    assert isinstance(found, Loop)
    assert (found.name, [word.text for word in found.words], len(found.body)) == ("x", ["a", "$b", "c d"], 2)
    endless = one("while read x\ndo a; done <file")
    assert isinstance(endless, Loop)
    assert (endless.name, len(endless.body)) == ("", 2)


def test_functions() -> None:
    found = one("f() {\n a\n b\n}")
    assert isinstance(found, Function)
    assert isinstance(found.body, Group)
    assert (found.name, len(found.body.body)) == ("f", 2)


@pytest.mark.parametrize(
    "text", ["if a; then b", "fi", "case a in b) c", "for x do", "a && ", "}", ")", "a ;; b", "f() "]
)
def test_what_is_no_script_is_told(text: str) -> None:
    with pytest.raises(NotUnderstood):
        parse_script(text)


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(NotUnderstood, match="nested too deep"):
        parse_script("( " * 5000)


@given(st.text(alphabet="ab $'\"`\\\n;&|(){}<>#=if then fi case esac in do done for", max_size=60))
def test_any_text_is_a_script_or_none(text: str) -> None:
    try:
        parse_script(text)
    except NotUnderstood:
        return
