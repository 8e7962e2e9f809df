"""Variables: `${VAR}` in the scalars of a document.

They are substituted after parsing and on values only, so that line numbers hold and no value can bring structure with
it (SPEC, rule 4). The forms are compose's: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `$$` for a dollar sign.
"""

import re
from collections.abc import Mapping
from typing import Final

from layerkit.document.problem import DocumentError, InvalidValue, Problem
from layerkit.document.tree import Document, KeyPath, Scalar, describe
from layerkit.document.validate import closest
from layerkit.oci.digest import shorten

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_DEPTH: Final = 8
"""Defaults within defaults: `${A:-${B:-c}}` has two."""


class UndeclaredVariable(InvalidValue):
    """A name that neither stands under `vars:` nor is given."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"variable `{name}` is not declared", hint)
        self.name = name


def resolve_variables(
    document: Document, *, overrides: Mapping[str, str], given: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The values of all variables that are visible in a file; None is a variable without one.

    These are the ones declared under `vars:`, with their values there or in `overrides`, and those of `given`, which
    may not be declared. A value under `vars:` may use those above it.

    Raises DocumentError with all that is wrong.
    """
    problems: list[Problem] = []
    visible: dict[str, str | None] = dict(given)
    declared = _declared(document, given, problems)
    for name in overrides.keys() - declared.keys():
        place = document.locate(("vars",), key=True)
        problems.append(document.problem(place, *_refuse_override(name, declared, given)))
    for name, value in declared.items():
        if name in overrides:
            visible[name] = overrides[name]
            continue
        try:
            visible[name] = value if value is None else expand(value, visible)
        except InvalidValue as error:
            is_early = isinstance(error, UndeclaredVariable) and error.name in declared
            hint = "a value under `vars:` may use those above it" if is_early else error.hint
            problems.append(document.problem(document.locate(("vars", name)), error.message, hint))
            visible[name] = None
    if problems:
        raise DocumentError(problems)
    return visible


def substitute(document: Document, variables: Mapping[str, str | None]) -> Document:
    """The document with `variables` in place of their names, positions unchanged.

    Raises DocumentError with every scalar that cannot be substituted.
    """
    problems: list[Problem] = []

    def fill(path: KeyPath, scalar: Scalar) -> Scalar:
        try:
            return Scalar(expand(scalar, variables), plain=scalar.plain)
        except InvalidValue as error:
            problems.append(document.problem(document.locate(path), error.message, error.hint))
            return scalar

    changed = document.map_scalars(fill)
    if problems:
        raise DocumentError(problems)
    return changed


def _declared(document: Document, given: Mapping[str, str | None], problems: list[Problem]) -> dict[str, Scalar | None]:
    values = document.values
    variables = values.get("vars") if isinstance(values, dict) else None
    if variables is None:
        if isinstance(values, dict) and "vars" in values:
            key = document.locate(("vars",), key=True)
            problems.append(document.problem(key, "`vars` has no value", "give it one, or remove the key"))
        return {}
    if not isinstance(variables, dict):
        message = f"expected a map, found {describe(variables)}"
        problems.append(document.problem(document.locate(("vars",)), message, "write `NAME: value`"))
        return {}
    declared: dict[str, Scalar | None] = {}
    for name, value in variables.items():
        key = document.locate(("vars", name), key=True)
        if not _NAME.fullmatch(name):
            message = f"{shorten(name)} cannot be the name of a variable: expected letters, digits and _"
            problems.append(document.problem(key, message))
        elif name in given:
            problems.append(document.problem(key, f"`{name}` is given by layerkit", "choose another name"))
        elif isinstance(value, Scalar | None):
            declared[name] = value
        else:
            message = f"expected text, found {describe(value)}"
            problems.append(document.problem(document.locate(("vars", name)), message))
    return declared


def _refuse_override(name: str, declared: Mapping[str, object], given: Mapping[str, object]) -> tuple[str, str]:
    if name in given:
        return f"--var {name}: `{name}` is given by layerkit", "remove it from the command line"
    meant = closest(name, declared)
    hint = f"did you mean `{meant}`?" if meant else "declare it under `vars:`"
    return f"--var {name}: no variable of this name is declared", hint


def expand(text: str, variables: Mapping[str, str | None], *, depth: int = 0) -> str:
    """`text` with its variables in place. Raises InvalidValue for one that is not declared or has no value."""
    if depth > _MAX_DEPTH:
        raise InvalidValue(f"more than {_MAX_DEPTH} defaults within defaults")
    parts = []
    begin = 0
    while (dollar := text.find("$", begin)) >= 0:
        parts.append(text[begin:dollar])
        rest = dollar + 1
        if text.startswith("$", rest):
            parts.append("$")
            begin = rest + 1
        elif text.startswith("{", rest):
            begin = _find_end(text, rest + 1) + 1
            parts.append(_evaluate(text[rest + 1 : begin - 1], variables, depth))
        elif name := _NAME.match(text, rest):
            # Compose substitutes $VAR too, a shell does it at run time: the author has to say which is meant.
            raise InvalidValue(
                f"`${name[0]}` could be a variable or mere text",
                f"write ${{{name[0]}}} for the variable, $${name[0]} for the text",
            )
        else:
            parts.append("$")
            begin = rest
    parts.append(text[begin:])
    return "".join(parts)


def _find_end(text: str, begin: int) -> int:
    depth = 1
    for found in re.finditer(r"\$\{|\}", text[begin:]):
        depth += 1 if found[0] == "${" else -1
        if not depth:
            return begin + found.start()
    raise InvalidValue("`${` is not closed", "put a } after the name, or write $${ for the text")


def _evaluate(inner: str, variables: Mapping[str, str | None], depth: int) -> str:
    found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:[-?])(.*))?", inner, re.DOTALL)
    if found is None:
        known = "known are ${VAR}, ${VAR:-default} and ${VAR:?message}; write $${ for the text"
        raise InvalidValue(f"{shorten(f'${{{inner}}}')} is not understood", known)
    name, operator, argument = found[1], found[2], found[3]
    if name not in variables:
        meant = closest(name, variables)
        hint = f"did you mean `{meant}`?" if meant else "declare it under `vars:`"
        raise UndeclaredVariable(name, hint)
    value = variables[name]
    if value or (value is not None and operator is None):
        return value
    match operator:
        case ":-":
            return expand(argument, variables, depth=depth + 1)
        case ":?":
            message = expand(argument, variables, depth=depth + 1) or "it must have a value"
            raise InvalidValue(f"variable `{name}`: {message}", f"give it a value with --var {name}=VALUE")
        case _:
            raise InvalidValue(f"variable `{name}` has no value", f"write ${{{name}:-default}}, or give it one")
