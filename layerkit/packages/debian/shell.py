"""Shell: the simple commands of a maintainer script in their order, as far as they are known without running it.

Functions are told where they are called, loops over known words once for each, and variables whose value stands in the
script are filled in; what cannot be known stays as it is written, with its `$`. Conditions are not decided: what a
script does to make sure of something is told. Source: POSIX.1-2017, "Shell Command Language"; dash(1).
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

_HEREDOC: Final = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_VARIABLE: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*|[1-9])\}|([A-Za-z_][A-Za-z0-9_]*|[1-9]))")
_FUNCTION: Final = re.compile(r"^\s*(?:function\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*\(\)")
_OPERATORS: Final = frozenset({";", "&&", "||", "|", "&", ";;", "(", ")"})
_SKIPPED: Final = frozenset({"if", "then", "else", "elif", "fi", "do", "!", "esac", "time"})
_DECLARING: Final = frozenset({"local", "export", "readonly"})
_OPENS: Final = {"{": "}", "for": "done", "while": "done", "until": "done"}
_CLOSES: Final = frozenset(_OPENS.values())
_DEEPEST: Final = 16
"""Calls and loops inside each other."""
_LONGEST: Final = 200
"""Lines of one quoted text."""
_MOST: Final = 10_000
"""Commands of one script."""
_BETWEEN_WORDS: Final = frozenset({"", " ", "\t", "\n", ";", "(", "&", "|"})
_LIST: Final = "\0"
"""Before the words of a variable that is not quoted: they may be several."""


@dataclass(slots=True)
class _Block:
    """What stands between two markers, and what opened it: `["for", NAME, "in", WORD...]`, `["{"]`, `["while"]`."""

    opening: list[str] = field(default_factory=list)
    body: "list[list[str] | _Block]" = field(default_factory=list)
    function: str | None = None


def iter_commands(text: str, arguments: Sequence[str] = ()) -> Iterator[list[str]]:
    """Each command with its arguments, without redirections, as of a script that is called with `arguments`."""
    functions: dict[str, _Block] = {}
    script = _parse(text, functions)
    for count, words in enumerate(_walk(script, functions, {"DPKG_ROOT": ""}, arguments, 0)):
        if count == _MOST:
            return
        yield words


def _walk(
    block: _Block, functions: dict[str, _Block], variables: dict[str, str], arguments: Sequence[str], depth: int
) -> Iterator[list[str]]:
    for item in block.body if depth < _DEEPEST else ():
        if isinstance(item, _Block):
            if item.opening[0] != "for" or len(item.opening) < 2:
                yield from _walk(item, functions, variables, arguments, depth + 1)
                continue
            for value in _expand_all(item.opening[3:], variables, arguments):
                yield from _walk(item, functions, {**variables, item.opening[1]: value}, arguments, depth + 1)
            continue
        assigned = item[1:] if item[0] in _DECLARING else item
        found = [_ASSIGNMENT.fullmatch(word) for word in assigned]
        if found and found[0] is not None:
            # Before a command they are of that command alone, and it is left out: it is nothing that packages do.
            for each in found if all(found) else ():
                assert each is not None  # noqa: S101 - all of them
                # What a command prints is not known. Where the script has said it otherwise before, that is believed.
                if not each[2].endswith("$") and "`" not in each[2]:
                    variables[each[1]] = _expand(each[2].replace(_LIST, ""), variables, arguments)
            continue
        words = _expand_all(item, variables, arguments)
        if words and words[0] in functions:
            yield from _walk(functions[words[0]], functions, variables, words[1:], depth + 1)
        elif words:
            yield words


def _expand_all(words: Sequence[str], variables: dict[str, str], arguments: Sequence[str]) -> list[str]:
    expanded: list[str] = []
    for word in words:
        bare = word.removeprefix(_LIST)
        if bare in {"$@", "$*"}:
            expanded += arguments
            continue
        value = _expand(bare, variables, arguments)
        # One that is empty and not quoted is no argument, and one with spaces is several.
        expanded += value.split() if word.startswith(_LIST) and value != bare else [value]
    return expanded


def _expand(word: str, variables: dict[str, str], arguments: Sequence[str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name.isdigit():
            return arguments[int(name) - 1] if int(name) <= len(arguments) else ""
        return variables.get(name, found[0])

    return _VARIABLE.sub(value, word)


def _parse(text: str, functions: dict[str, _Block]) -> _Block:
    script = _Block()
    opened = [script]
    name: str | None = None
    for line in _logical_lines(text):
        named = _FUNCTION.match(line)
        if named:
            name = named[1]
            line = line[named.end() :]  # noqa: PLW2901 - what is left of it is a statement
        elif line.startswith("}"):
            # The end of a function; whatever was not understood inside ends with it.
            del opened[1:]
            continue
        for words in _split(line):
            if words[0] in _OPENS:
                block = _Block(words, function=name if words[0] == "{" else None)
                if block.function is not None:
                    functions[block.function] = block
                else:
                    opened[-1].body.append(block)
                opened.append(block)
            elif words[0] in _CLOSES:
                if len(opened) > 1 and _OPENS[opened[-1].opening[0]] == words[0]:
                    opened.pop()
            else:
                opened[-1].body.append(words)
            name = None
    return script


def _logical_lines(text: str) -> Iterator[str]:
    """Lines without comments, of which several are one where a quoted text goes over them; what commands read as their
    input is left out."""
    lines = iter(text.replace("\\\n", " ").split("\n"))
    for line in lines:
        parts = [line]
        read, is_open = _read_line(line)
        for _, more in zip(range(_LONGEST if is_open else 0), lines, strict=False):
            parts.append(more)
            read, is_open = _read_line("\n".join(parts))
            if not is_open:
                break
        found = _HEREDOC.search(read)
        if found:
            for inner in lines:
                if inner.strip() == found[2]:
                    break
            read = read[: found.start()] + read[found.end() :]
        if read.strip():
            yield read


def _read_line(line: str) -> tuple[str, bool]:
    """The line without its comment, each variable that begins a word and is not quoted marked; and whether a quoted
    text goes on in the next line."""
    quote = ""
    read: list[str] = []
    for at, character in enumerate(line):
        before = line[at - 1 : at]
        if character in "'\"" and quote in {"", character} and (before != "\\" or quote == "'"):
            quote = "" if quote else character
        if not quote and before in _BETWEEN_WORDS:
            if character == "#":
                break
            if character == "$":
                read.append(_LIST)
        read.append(character)
    return "".join(read), bool(quote)


def _split(line: str) -> Iterator[list[str]]:
    """The commands of a line, and the words that open and close blocks as commands of their own."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
        lexer.commenters = ""
        lexer.wordchars += f"#$@%+,:=^!?*[]{{}}{_LIST}"
        tokens = list(lexer)
    except ValueError:
        yield [line.strip()]
        return
    yield from _part(tokens)


def _part(tokens: list[str]) -> Iterator[list[str]]:
    words: list[str] = []
    skip = False
    for n, token in enumerate([*tokens, ";"]):
        if skip:
            skip = False
        elif token and set(token) <= set("<>&|") and ("<" in token or ">" in token):
            # A redirection: its target is no argument, and a number before it neither.
            if words and words[-1].isdigit():
                words.pop()
            skip = True
        elif token in _OPERATORS or (token and set(token) <= set(";&|()")):
            if words and not (token in {")", "|"} and _is_pattern(tokens, n)):
                yield words
            words = []
        elif not words and token in _SKIPPED:
            continue
        elif not words and (token in {"{", "while", "until"} or token in _CLOSES):
            yield [token]
        else:
            words.append(token)


def _is_pattern(tokens: Sequence[str], at: int) -> bool:
    """Whether a `)` or `|` ends a pattern of `case`."""
    opened = 0
    for token in reversed(tokens[:at]):
        if token in {")", ";;"}:
            break
        if token == "(":  # noqa: S105
            opened += 1
    if opened:
        return False
    following = (token for token in tokens[at:] if token in _OPERATORS and token != "|")  # noqa: S105
    return next(following, "") == ")"
