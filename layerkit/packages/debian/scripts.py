"""Maintainer scripts: what they would do when a package is configured for the first time, without running them.

Commands that are understood are done to the system at hand, those that only look or concern a running system are passed
over, and any other is told, with its text. Conditions are decided where the system and the variables tell: else both
ways are gone. Source: Debian Policy, 6.5 "Summary of ways maintainer scripts are called".
"""

import fnmatch
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from layerkit.layer.entry import EntryType
from layerkit.packages.debian.accounts import Accounts
from layerkit.packages.debian.actions import HARMLESS, parse_words, perform
from layerkit.packages.debian.alternatives import Alternative, parse_install
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
    Word,
    parse_script,
)
from layerkit.packages.debian.system import System

_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_VARIABLE: Final = re.compile(
    r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*|[0-9])(?::?(?P<kind>[-+])(?P<other>[^}$`]*))?\}|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<special>[0-9#@*]))"
)
_FOLDERS: Final = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
_DECLARE: Final = frozenset({"local", "export", "readonly", "declare", "typeset"})
_MOST_STEPS: Final = 20_000
_DEEPEST: Final = 30
_MOST_BYTES: Final = 2**20
_OF_DEBCONF: Final = "/usr/share/debconf/"
_DONE_WHOLE: Final = frozenset({"base-files", "base-passwd", "dash"})
"""What the scripts of these make, `install` makes."""
# Packages whose scripts have nothing more to do on a new system than what is understood of them.
_KNOWN_WHOLE: Final = parse_words(
    """
    ca-certificates bash debconf dpkg libc6 libc-bin login passwd tzdata usrmerge
    usr-is-merged adduser perl-base debianutils init-system-helpers libpam0g libgcrypt20 python3 python3-minimal
    python3.11 python3.11-minimal python3.13 python3.13-minimal libpython3.11-minimal libpython3.13-minimal
    debian-archive-keyring tar ucf apt e2fsprogs libpam-runtime
    """
)


@dataclass(slots=True)
class Effects:
    """What the scripts of a set of packages come to. `unknown` are statements by the packages that have them."""

    alternatives: list[Alternative] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)


def configure(name: str, script: bytes, system: System, accounts: Accounts, effects: Effects) -> None:
    """Do to the system what a package's `postinst configure` would do, as far as that is understood."""
    if name in _DONE_WHOLE:
        return
    system.umask = 0o022
    text = script.decode(errors="replace")
    run = _Run(name, system, accounts, effects)
    if not re.match(r"#!\s*/(?:usr/)?bin/(?:sh|dash|bash)\b", text):
        run.tell(text.partition("\n")[0])
        return
    try:
        body = parse_script(text)
    except NotUnderstood as error:
        run.tell(f"all of it, because {error}")
        return
    try:
        run.follow(body, is_certain=True)
    except _End:
        return


class _End(Exception):
    """The script has come to its end."""


class _Return(Exception):
    """A function has."""


class _Run:
    """A statement's status is True or False, or None where nobody knows. `is_certain` says whether it is known that
    it would be run at all."""

    def __init__(self, name: str, system: System, accounts: Accounts, effects: Effects) -> None:
        self._name = name
        self._system = system
        self._accounts = accounts
        self._effects = effects
        self._variables: dict[str, str] = {"DPKG_ROOT": "", "DPKG_MAINTSCRIPT_PACKAGE": name, "0": "postinst"}
        self._guesses: dict[str, str] = {}
        self._arguments: tuple[str, ...] = ("configure", "")
        self._functions: dict[str, Statement] = {}
        self._steps = 0
        self._depth = 0

    def tell(self, text: str) -> None:
        if self._name not in _KNOWN_WHOLE:
            self._effects.unknown.setdefault(self._name, []).append(text)

    def follow(self, statements: Iterable[Statement], *, is_certain: bool) -> bool | None:
        status: bool | None = True
        for statement in statements:
            status = self._follow(statement, is_certain=is_certain)
        return status

    def _follow(self, statement: Statement, *, is_certain: bool) -> bool | None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            self.tell("more than can be followed here")
            raise _End
        match statement:
            case Command(words):
                return self._command(words, is_certain=is_certain)
            case Chain(parts):
                status: bool | None = True
                for operator, part in parts:
                    if (operator == "&&" and status is False) or (operator == "||" and status is True):
                        continue
                    is_known = not operator or status is not None
                    status = self._follow(part, is_certain=is_certain and is_known)
                return status
            case Negation(of):
                status = self._follow(of, is_certain=is_certain)
                return None if status is None else not status
            case Group(body):
                return self.follow(body, is_certain=is_certain)
            case Condition(branches):
                return self._decide(branches, is_certain=is_certain)
            case Choice(subject, choices):
                return self._choose(subject, choices, is_certain=is_certain)
            case Loop():
                return self._repeat(statement, is_certain=is_certain)
            case Function(name, inner):
                self._functions[name] = inner
                return True
            case _:
                assert_never(statement)

    def _decide(
        self,
        branches: Sequence[tuple[tuple[Statement, ...] | None, tuple[Statement, ...]]],
        *,
        is_certain: bool,
    ) -> bool | None:
        for condition, body in branches:
            status = True if condition is None else self.follow(condition, is_certain=is_certain)
            if status is False:
                continue
            is_certain = is_certain and status is True
            result = self.follow(body, is_certain=is_certain)
            if status is True:
                return result
        return None

    def _choose(
        self, subject: Word, choices: Sequence[tuple[tuple[Word, ...], tuple[Statement, ...]]], *, is_certain: bool
    ) -> bool | None:
        value = self._text(subject)
        for patterns, body in choices:
            wanted = [self._text(pattern) for pattern in patterns]
            if value is None or None in wanted:
                self.follow(body, is_certain=False)
            elif any(fnmatch.fnmatchcase(value, pattern) for pattern in wanted if pattern is not None):
                return self.follow(body, is_certain=is_certain)
        return None

    def _repeat(self, loop: Loop, *, is_certain: bool) -> bool | None:
        if not loop.name:
            self.follow(loop.body, is_certain=False)
            return None
        values = [value for word in loop.words for value in self._values(word)]
        if any(_is_unresolved(value) for value in values):
            self._assign(loop.name, "$")
            self.follow(loop.body, is_certain=False)
            return None
        for value in values:
            self._variables[loop.name] = value
            self.follow(loop.body, is_certain=is_certain)
        return True

    def _values(self, word: Word) -> list[str]:
        """Of a word of `for`: what a pattern in the last name of a path matches."""
        found: list[str] = []
        for value in self._expand(word):
            folder, _, pattern = value.rpartition("/")
            if word.is_plain and folder and re.search(r"[*?\[]", pattern) and not re.search(r"[*?\[$`]", folder):
                names = self._system.names(folder)
                found += [f"{folder}/{name}" for name in fnmatch.filter(names, pattern) if name[:1] != "."] or [value]
            else:
                found.append(value)
        return found

    def _command(self, words: Sequence[Word], *, is_certain: bool) -> bool | None:
        words = list(words)
        while words and (found := _ASSIGNMENT.fullmatch(words[0].text)) is not None:
            # Of one command alone it would be; that is told apart by what follows.
            value = self._expand(Word(found[2], is_plain=False), is_guessed=False)[0]
            if len(words) == 1:
                self._assign(found[1], value)
                return True
            del words[0]
        is_test = bool(words) and words[0].text in {"[", "[[", "test"}
        expanded = [text for word in words for text in self._expand(word, is_guessed=not is_test)]
        if expanded[:2] == ["chroot", ""]:
            # On a system that is being made the root of another one is that of this one.
            del expanded[:2]
        if not expanded:
            return True
        command, arguments = expanded[0], expanded[1:]
        status, is_known = self._builtin(command, arguments, is_certain=is_certain)
        if is_known:
            return status
        name = command.rpartition("/")[2]
        if name in HARMLESS:
            return None
        try:
            is_done = self._do(name, arguments)
        except (ValueError, IndexError, KeyError):
            is_done = False
        if not is_done:
            self.tell(shlex.join(_restore(text) for text in expanded))
        return True if is_done else None

    def _do(self, name: str, arguments: list[str]) -> bool:
        if name == "update-alternatives":
            if "--install" not in arguments:
                return True
            found = parse_install(arguments)
            if found is not None:
                self._effects.alternatives.append(found)
            return found is not None
        if any(map(_is_unresolved, arguments)):
            return False
        return perform(name, list(map(_restore, arguments)), self._system, self._accounts)

    def _builtin(self, command: str, arguments: list[str], *, is_certain: bool) -> tuple[bool | None, bool]:
        """The status of what the shell does itself, and whether it is such."""
        if command in self._functions:
            return self._call(command, arguments, is_certain=is_certain), True
        match command:
            case ":" | "true":
                return True, True
            case "false":
                return False, True
            case "[" | "[[" | "test":
                return self._test(arguments[: -1 if command != "test" else None]), True
            case "exit":
                if is_certain:
                    raise _End
            case "return":
                if is_certain:
                    raise _Return
            case "shift":
                self._arguments = self._arguments[1:]
            case "." | "source":
                self._include(arguments, is_certain=is_certain)
            case "command" | "which" | "type":
                return self._find_program(arguments), True
            case "dpkg" if arguments[:1] == ["--compare-versions"] and len(arguments) == 4 and not arguments[1]:
                # Nothing was installed before: dpkg(1), "--compare-versions".
                return arguments[2] in {"lt", "le", "<", "<<", "<=", "gt-nl", "ge-nl"}, True
            case _ if command in _DECLARE:
                for argument in arguments:
                    if found := _ASSIGNMENT.fullmatch(argument):
                        self._assign(found[1], found[2])
            case _:
                return None, False
        return None, True

    def _assign(self, name: str, value: str) -> None:
        old = self._variables.pop(name, None)
        if not _is_unresolved(value):
            self._guesses.pop(name, None)
            self._variables[name] = value
        elif old is not None:
            # What a command prints is not known. Where the script has said it otherwise before, that is believed, but
            # nothing is decided by it.
            self._guesses[name] = old

    def _call(self, name: str, arguments: list[str], *, is_certain: bool) -> bool | None:
        if self._depth >= _DEEPEST:
            return None
        before = self._arguments
        self._arguments, self._depth = tuple(arguments), self._depth + 1
        try:
            return self._follow(self._functions[name], is_certain=is_certain)
        except _Return:
            return None
        finally:
            self._arguments, self._depth = before, self._depth - 1

    def _include(self, arguments: list[str], *, is_certain: bool) -> None:
        """What another file says, where a package brings it."""
        path = arguments[0] if arguments else ""
        if _is_unresolved(path) or path.startswith(_OF_DEBCONF) or not self._system.is_new(path):
            return
        content = self._system.read(path)
        if len(content) > _MOST_BYTES or self._depth >= _DEEPEST:
            return
        try:
            body = parse_script(content.decode(errors="replace"))
        except NotUnderstood:
            return
        self._depth += 1
        try:
            self.follow(body, is_certain=is_certain)
        finally:
            self._depth -= 1

    def _find_program(self, arguments: list[str]) -> bool | None:
        names = [argument for argument in arguments if not argument.startswith("-")]
        if len(names) != 1 or _is_unresolved(names[0]):
            return None
        if names[0].startswith("/"):
            return self._system.exists(names[0])
        return names[0] in self._functions or any(self._system.exists(f"{folder}/{names[0]}") for folder in _FOLDERS)

    def _test(self, words: list[str]) -> bool | None:
        """The status of `test` (POSIX, XCU, "test")."""
        for operator in ("-o", "-a"):
            if operator in words[1:-1]:
                at = words.index(operator, 1)
                results = self._test(words[:at]), self._test(words[at + 1 :])
                decisive = operator == "-o"
                if decisive in results:
                    return decisive
                return None if None in results else not decisive
        if any(map(_is_unresolved, words)):
            return None
        match words:
            case ["!", *rest]:
                result = self._test(rest)
                return None if result is None else not result
            case ["-n", text] | [text]:
                return bool(text)
            case ["-z", text]:
                return not text
            case [operator, path] if operator in {"-e", "-f", "-d", "-L", "-h", "-x", "-r", "-w", "-s"}:
                return self._test_file(operator, path)
            case [left, "=" | "==", right]:
                return left == right
            case [left, "!=", right]:
                return left != right
            case []:
                return False
            case _:
                return None

    def _test_file(self, operator: str, path: str) -> bool | None:
        if not path.startswith("/"):
            return None if path else False
        system = self._system
        if operator in {"-L", "-h"}:
            found = system.lookup(path)
            return found is not None and found.type is EntryType.SYMLINK
        if not system.exists(path):
            return False
        if operator == "-d":
            return system.is_directory(path)
        if operator == "-f":
            return not system.is_directory(path)
        return None if operator == "-s" else True

    def _text(self, word: Word) -> str | None:
        """A word as one text, None where that is not known."""
        text = self._substitute(word.text)
        return None if _is_unresolved(text) else _restore(text)

    def _expand(self, word: Word, *, is_guessed: bool = True) -> list[str]:
        if word.text == "$@":
            return list(self._arguments)
        text = self._substitute(word.text, is_guessed=is_guessed)
        if word.is_plain and "$" in word.text and not _is_unresolved(text):
            return text.split()
        return [text]

    def _substitute(self, text: str, *, is_guessed: bool = False) -> str:
        def replace(found: re.Match[str]) -> str:
            name = found["braced"] or found["name"] or found["special"]
            if name.isdigit() and name != "0":
                at = int(name) - 1
                value: str | None = self._arguments[at] if at < len(self._arguments) else ""
            elif name == "#":
                value = str(len(self._arguments))
            elif name in {"@", "*"}:
                value = " ".join(self._arguments)
            else:
                value = self._variables.get(name)
                if value is None and is_guessed:
                    value = self._guesses.get(name)
            if found["kind"] == "-" and not value:
                return found["other"]
            if found["kind"] == "+" and value is not None:
                return found["other"] if value else ""
            return found[0] if value is None else value

        return _VARIABLE.sub(replace, text) if "$" in text else text


def _is_unresolved(text: str) -> bool:
    return "$" in text or "`" in text


def _restore(text: str) -> str:
    return text.replace(LITERAL, "$")
