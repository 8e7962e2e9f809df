"""Syntax: what the YAML parser says, in plain English and with advice.

libyaml and PyYAML's own parser word things differently; both are understood, and the rest is passed on.
"""

import json
import re
from typing import Final

import yaml

from layerkit.document.problem import Position, Problem, Source

_UNQUOTED: Final = re.compile(r"(?:\$\{[^}]*\}?|[^\[\]{},\s])+")

_QUOTE_OR_INDENT: Final = "quote the text if it holds `: `; else check how the lines are indented"
_PLAIN: Final = (
    ("mapping values are not allowed", "`: ` may not stand here", _QUOTE_OR_INDENT),
    ("did not find expected key", "expected a key, or the end of this map", "check quotes, and how it is indented"),
    ("did not find expected '-' indicator", "expected `- `, as in the lines above", "check how it is indented"),
    ("expected <block end>", "this does not belong to what stands above", "check quotes, and how it is indented"),
    ("could not find expected ':'", "expected `key: value`", "put a `: ` after the key"),
    ("found unknown escape character", 'unknown \\ escape within "double quotes"', "write \\\\ for a \\"),
    ("found invalid Unicode character escape", "this escape stands for no character", "check its digits"),
    ("did not find expected node content", "expected a value", "quote a text that begins with a special character"),
    # libyaml from 0.2.6 on, which counts to 1000 before anybody hears of it.
    ("exceeded maximum nesting depth", "far too many levels of nesting", ""),
    ("found incompatible YAML document", "not a version of YAML that is known", "remove the %YAML line"),
)


def is_tab_indented(line: str) -> bool:
    """Whether a tab stands before the first character, and it is no comment."""
    text = line.lstrip()
    return bool(text) and not text.startswith("#") and "\t" in line[: len(line) - len(text)]


def tab_problem(number: int, source: Source) -> Problem:
    """For line `number`, which is indented with a tab."""
    position = source.at(number, source.line(number).index("\t") + 1)
    return source.problem(position, "a tab indents this line", "indent with spaces")


def explain_syntax(error: yaml.YAMLError, source: Source) -> Problem:
    """The Problem that the parser's error stands for."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return source.problem(source.at(1, 1), f"not valid YAML: {error}")
    mark, said = error.problem_mark, error.problem or ""
    position = source.at(mark.line + 1, mark.column + 1)
    line = source.line(position.line)
    if is_tab_indented(line) or line[: mark.column + 1].strip(" ") == "\t":
        return tab_problem(position.line, source)
    if said.startswith(("did not find expected ',' or", "expected ',' or")):
        return _explain_flow(error, position, line, source)
    if "unexpected end of stream" in said and error.context_mark:
        opened = source.at(error.context_mark.line + 1, error.context_mark.column + 1)
        return source.problem(opened, "this quote is never closed", "put the same quote at its end")
    if error.context == "while scanning an alias" and error.context_mark:
        start = source.at(error.context_mark.line + 1, error.context_mark.column + 1)
        text = _UNQUOTED.match(source.line(start.line), start.column - 1)
        return source.problem(
            start,
            "`*` begins no text without quotes",
            f"write {json.dumps(text[0] if text else '*', ensure_ascii=False)}",
        )
    if "cannot start any token" in said:
        character = line[mark.column : mark.column + 1]
        return source.problem(position, f"`{character}` may not begin a value", "quote the text")
    for words, message, hint in _PLAIN:
        if words in said:
            return source.problem(position, message, hint)
    return source.problem(position, f"not valid YAML: {said}" + (f" ({error.context})" if error.context else ""))


def _explain_flow(error: yaml.MarkedYAMLError, position: Position, line: str, source: Source) -> Problem:
    column = position.column - 1
    if line[column - 1 : column + 1] == "${" and column:
        # SPEC, rule 4: compose's users write [img:${TAG}], and the parser's words do not lead them to the quotes.
        scalar = next((found for found in _UNQUOTED.finditer(line) if found.start() < column < found.end()), None)
        begin, text = (scalar.start(), scalar[0]) if scalar else (column - 1, "${...}")
        return source.problem(
            source.at(position.line, begin + 1),
            "`${...}` within [...] or {...} needs quotes: YAML takes its { for the beginning of a map",
            f"write {json.dumps(text, ensure_ascii=False)}",
        )
    opened = error.context_mark
    if opened is None or (opened.line + 1 == position.line and column < len(line.rstrip())):
        return source.problem(position, "expected `,` or the closing bracket", "quote the text if it holds , [ ] { }")
    place = source.at(opened.line + 1, opened.column + 1)
    bracket = source.line(place.line)[opened.column : opened.column + 1]
    closing = {"[": "]", "{": "}"}.get(bracket, "its bracket")
    return source.problem(
        place, f"`{bracket}` is not closed before line {position.line}", f"put `{closing}` at its end, and `,` between"
    )
