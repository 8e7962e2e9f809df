"""Shell scripts as trees: commands, what they depend upon, loops and functions. Nothing is run here.

As much of the shell's grammar as maintainer scripts have; what is not understood is told as the text that it is.
Source: POSIX, XCU 2 "Shell Command Language"; dash(1). Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

LITERAL: Final = "\ue000"
"""Stands for a `$` or a backquote that means itself."""

_OPERATORS: Final = (
    "&&",
    "||",
    ";;",
    "<<-",
    "<<",
    ">>",
    ">&",
    "<&",
    "<>",
    ">|",
    "&",
    "|",
    ";",
    "(",
    ")",
    "<",
    ">",
    "\n",
)
_REDIRECTIONS: Final = frozenset({"<", ">", ">>", ">&", "<&", "<>", ">|", "<<", "<<-"})
_ENDS: Final = frozenset({"then", "elif", "else", "fi", "do", "done", "esac", "}"})
_DEEPEST: Final = 50
_MOST_TOKENS: Final = 100_000


class Word(NamedTuple):
    """`is_plain` is one without quotes, whose variables make several words."""

    text: str
    is_plain: bool


class Operator(NamedTuple):
    text: str


Token: TypeAlias = Word | Operator


@dataclass(frozen=True, slots=True)
class Command:
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """`parts` are joined by `&&` and `||`: each with the operator before it, "" for the first."""

    parts: "tuple[tuple[str, Statement], ...]"


@dataclass(frozen=True, slots=True)
class Negation:
    of: "Statement"


@dataclass(frozen=True, slots=True)
class Group:
    """In braces or parentheses, or in a pipe, whose status is that of its last."""

    body: "tuple[Statement, ...]"


@dataclass(frozen=True, slots=True)
class Condition:
    """`branches` are what has to hold and what is done then; the last may be without a condition."""

    branches: "tuple[tuple[tuple[Statement, ...] | None, tuple[Statement, ...]], ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """`case`: patterns, and what is done where one of them matches."""

    subject: Word
    branches: "tuple[tuple[tuple[Word, ...], tuple[Statement, ...]], ...]"


@dataclass(frozen=True, slots=True)
class Loop:
    """`for` with its words; `while` and `until` have no name, and their condition is a part of the body."""

    name: str
    words: tuple[Word, ...]
    body: "tuple[Statement, ...]"


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    body: "Statement"


Statement: TypeAlias = Command | Chain | Negation | Group | Condition | Choice | Loop | Function


class NotUnderstood(ValueError):
    """What is no script, or not as far as it is understood here."""


def parse_script(text: str) -> tuple[Statement, ...]:
    """Raises NotUnderstood."""
    parser = _Parser(_tokenize(text))
    body = parser.parse_list(())
    if parser.peek() is not None:
        raise NotUnderstood(f"`{_show(parser.peek())}` has no beginning")
    return body


def _tokenize(text: str) -> list[Token]:
    tokens: list[Token] = []
    ends: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        if len(tokens) > _MOST_TOKENS:
            raise NotUnderstood("the script is too long")
        character = text[at]
        if character in " \t\r":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif character == "#":
            at = _find(text, "\n", at)
        elif operator := next((each for each in _OPERATORS if text.startswith(each, at)), None):
            at += len(operator)
            tokens.append(Operator(operator))
            if operator == "\n" and ends:
                for end, is_indented in ends:
                    at = _skip_document(text, at, end, is_indented=is_indented)
                ends.clear()
        else:
            word, at = _read_word(text, at)
            if tokens and tokens[-1] in {Operator("<<"), Operator("<<-")}:
                ends.append((word.text.replace(LITERAL, "$"), tokens[-1] == Operator("<<-")))
            tokens.append(word)
    return tokens


def _find(text: str, what: str, at: int) -> int:
    found = text.find(what, at)
    return len(text) if found < 0 else found


def _skip_document(text: str, at: int, end: str, *, is_indented: bool) -> int:
    while at < len(text):
        stop = _find(text, "\n", at)
        line = text[at:stop]
        at = stop + 1
        if (line.lstrip("\t") if is_indented else line) == end:
            break
    return at


def _read_word(text: str, at: int) -> tuple[Word, int]:
    parts: list[str] = []
    is_plain = True
    while at < len(text):
        character = text[at]
        if character in " \t\r\n;&|()<>":
            break
        if character == "'":
            stop = _find(text, "'", at + 1)
            parts.append(text[at + 1 : stop].replace("$", LITERAL).replace("`", LITERAL))
            at, is_plain = stop + 1, False
        elif character == '"':
            at, is_plain = _read_quoted(text, at + 1, parts), False
        elif character == "\\":
            parts.append(text[at + 1 : at + 2].replace("$", LITERAL).replace("\n", ""))
            at += 2
        else:
            at = _read_plain(text, at, parts)
    return Word("".join(parts), is_plain), at


def _read_quoted(text: str, at: int, parts: list[str]) -> int:
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in {"$", "`", '"', "\\", "\n"}:
            parts.append(text[at + 1].replace("$", LITERAL).replace("`", LITERAL).replace("\n", ""))
            at += 2
        else:
            at = _read_plain(text, at, parts)
    return at + 1


def _read_plain(text: str, at: int, parts: list[str]) -> int:
    """One character, or a substitution as a whole."""
    stop = at + 1
    if text.startswith("$(", at):
        stop = _close(text, at + 1, "(", ")")
    elif text.startswith("${", at):
        stop = _close(text, at + 1, "{", "}")
    elif text[at] == "`":
        stop = _find(text, "`", at + 1) + 1
    parts.append(text[at:stop])
    return stop


def _close(text: str, at: int, begin: str, end: str) -> int:
    """After what closes the bracket at `at`; quotes within are passed over."""
    depth = 0
    is_quoted = False
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif character == '"':
            is_quoted = not is_quoted
        elif text.startswith(f"${begin}", at):
            at = _close(text, at + 1, begin, end) - 1
        elif is_quoted:
            pass
        elif character == "'":
            at = _find(text, "'", at + 1)
        elif character == begin:
            depth += 1
        elif character == end:
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return at


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def parse_list(self, ends: Sequence[str]) -> tuple[Statement, ...]:
        """Statements up to one of the words or operators `ends`, which is left."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotUnderstood("the script is nested too deep")
        found: list[Statement] = []
        while (token := self.peek()) is not None and not (
            token.text in ends and (isinstance(token, Operator) or token.is_plain)
        ):
            if isinstance(token, Operator) and token.text in {";", "\n", "&"}:
                self._at += 1
            elif isinstance(token, Operator) and token.text in {")", ";;", "&&", "||", "|"}:
                break
            else:
                found.append(self._parse_chain())
        self._depth -= 1
        return tuple(found)

    def _parse_chain(self) -> Statement:
        parts = [("", self._parse_pipe())]
        while (operator := self._take("&&", "||")) is not None:
            self._skip_lines()
            parts.append((operator, self._parse_pipe()))
        return parts[0][1] if len(parts) == 1 else Chain(tuple(parts))

    def _parse_pipe(self) -> Statement:
        is_negated = self._take_word("!")
        parts = [self._parse_command()]
        while self._take("|") is not None:
            self._skip_lines()
            parts.append(self._parse_command())
        statement = parts[0] if len(parts) == 1 else Group(tuple(parts))
        return Negation(statement) if is_negated else statement

    def _parse_command(self) -> Statement:
        token = self.peek()
        if token is None:
            raise NotUnderstood("the script ends early")
        if isinstance(token, Operator):
            if self._take("(") is not None:
                body = self.parse_list((")",))
                self._expect(")")
                return self._with_redirections(Group(body))
            if token.text not in _REDIRECTIONS:
                raise NotUnderstood(f"`{_show(token)}` stands where a command would begin")
        elif token.is_plain:
            match token.text:
                case "{":
                    self._at += 1
                    body = self.parse_list(("}",))
                    self._expect("}")
                    return self._with_redirections(Group(body))
                case "if":
                    return self._with_redirections(self._parse_condition())
                case "case":
                    return self._with_redirections(self._parse_choice())
                case "for":
                    return self._with_redirections(self._parse_for())
                case "while" | "until":
                    self._at += 1
                    head = self.parse_list(("do",))
                    return self._with_redirections(Loop("", (), (*head, *self._parse_body())))
                case "function":
                    self._at += 1
                case word if word in _ENDS:
                    raise NotUnderstood(f"`{word}` has no beginning")
            if self._tokens[self._at + 1 : self._at + 3] == [Operator("("), Operator(")")]:
                name = self._next_word().text
                self._at += 2
                self._skip_lines()
                return Function(name, self._parse_command())
        return self._parse_simple()

    def _parse_simple(self) -> Command:
        words: list[Word] = []
        while (token := self.peek()) is not None:
            if isinstance(token, Word):
                following = self._tokens[self._at + 1 : self._at + 2]
                is_number = token.is_plain and token.text.isdigit() and following and following[0].text in _REDIRECTIONS
                if not (is_number and isinstance(following[0], Operator)):
                    words.append(token)
                self._at += 1
            elif token.text in _REDIRECTIONS:
                self._at += 2
            else:
                break
        return Command(tuple(words))

    def _with_redirections(self, statement: Statement) -> Statement:
        while isinstance(token := self.peek(), Operator | Word):
            following = self._tokens[self._at + 1 : self._at + 2]
            if isinstance(token, Operator) and token.text in _REDIRECTIONS:
                self._at += 2
            elif token.text.isdigit() and following and following[0].text in _REDIRECTIONS:
                self._at += 1
            else:
                break
        return statement

    def _parse_condition(self) -> Condition:
        branches: list[tuple[tuple[Statement, ...] | None, tuple[Statement, ...]]] = []
        word = self._next_word().text
        while word in {"if", "elif"}:
            condition = self.parse_list(("then",))
            self._expect("then")
            branches.append((condition, self.parse_list(("elif", "else", "fi"))))
            word = self._next_word().text
        if word == "else":
            branches.append((None, self.parse_list(("fi",))))
            word = self._next_word().text
        if word != "fi":
            raise NotUnderstood("an `if` has no end")
        return Condition(tuple(branches))

    def _parse_choice(self) -> Choice:
        self._at += 1
        subject = self._next_word()
        self._skip_lines()
        self._expect("in")
        self._skip_lines()
        branches: list[tuple[tuple[Word, ...], tuple[Statement, ...]]] = []
        while not self._take_word("esac"):
            self._take("(")
            patterns = [self._next_word()]
            while self._take("|") is not None:
                patterns.append(self._next_word())
            self._expect(")")
            branches.append((tuple(patterns), self.parse_list(("esac",))))
            self._take(";;")
            self._skip_lines()
        return Choice(subject, tuple(branches))

    def _parse_for(self) -> Loop:
        self._at += 1
        name = self._next_word().text
        self._skip_lines()
        words: list[Word] = []
        if self._take_word("in"):
            while isinstance(self.peek(), Word):
                words.append(self._next_word())
        while self._take(";", "\n") is not None:
            pass
        return Loop(name, tuple(words), self._parse_body())

    def _parse_body(self) -> tuple[Statement, ...]:
        self._expect("do")
        body = self.parse_list(("done",))
        self._expect("done")
        return body

    def _take(self, *operators: str) -> str | None:
        token = self.peek()
        if isinstance(token, Operator) and token.text in operators:
            self._at += 1
            return token.text
        return None

    def _take_word(self, text: str) -> bool:
        token = self.peek()
        is_there = isinstance(token, Word) and token.is_plain and token.text == text
        self._at += is_there
        return is_there

    def _next_word(self) -> Word:
        token = self.peek()
        if not isinstance(token, Word):
            raise NotUnderstood(f"expected a word, found `{_show(token)}`")
        self._at += 1
        return token

    def _expect(self, text: str) -> None:
        token = self.peek()
        if token is None or token.text != text:
            raise NotUnderstood(f"expected `{text}`, found `{_show(token)}`")
        self._at += 1

    def _skip_lines(self) -> None:
        while self._take("\n") is not None:
            pass


def _show(token: Token | None) -> str:
    if token is None:
        return "the end"
    return "the end of a line" if token.text == "\n" else token.text.replace(LITERAL, "$")
