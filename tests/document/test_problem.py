"""Problems: what a person reads."""

from layerkit.document.parse import parse_document
from layerkit.document.problem import DocumentError, Position, Problem


def test_a_problem_shows_its_line_with_a_caret_and_a_hint() -> None:
    problem = Problem(Position("f.yaml", 3, 5), "unknown key 'comand'", "    comand: x", "did you mean `cmd`?")
    assert str(problem) == "f.yaml:3:5: unknown key 'comand'"
    assert problem.render().splitlines() == [
        "f.yaml:3:5: unknown key 'comand'",
        "        comand: x",
        "        ^",
        "  hint: did you mean `cmd`?",
    ]


def test_the_caret_stands_below_its_character_after_tabs() -> None:
    assert Problem(Position("f", 1, 3), "m", "a\tb").render().splitlines()[1:] == ["    a\tb", "     \t^"]


def test_a_long_line_is_cropped_around_the_caret() -> None:
    source = "x" * 5000 + "!" + "y" * 5000
    line, caret = Problem(Position("f", 1, 5001), "m", source).render().splitlines()[1:]
    assert len(line) == 124
    assert line[caret.index("^")] == "!"


def test_no_control_character_reaches_the_terminal() -> None:
    assert "\x1b" not in Problem(Position("f", 1, 1), "m", "\x1b[31mred").render()


def test_a_problem_of_the_file_as_a_whole_has_no_line() -> None:
    assert Problem(Position("f.yaml"), "there is no such file").render() == "f.yaml: there is no such file"


def test_the_problems_of_an_error_are_sorted_and_each_one_is_there_once() -> None:
    first, second = Problem(Position("f", 2, 9), "a"), Problem(Position("f", 10, 1), "b")
    error = DocumentError([second, first, second])
    assert error.problems == (first, second)
    assert str(error) == "f:2:9: a\nf:10:1: b"


def test_substitution_keeps_positions_and_leaves_keys_alone() -> None:
    """SPEC, rule 4: "on scalars only, so that line numbers hold and values cannot inject structure"."""
    document = parse_document("a: [b, {b: c}]", "f.yaml")
    changed = document.map_scalars(lambda path, scalar: type(scalar)(f"{path[-1]}: [{scalar}"))
    assert changed.values == {"a": ["0: [b", {"b": "b: [c"}]}
    assert changed.locate(("a", 1, "b")) == document.locate(("a", 1, "b"))
