"""Validation: a document to an instance of a model, and all that pydantic refuses as Problems in plain English."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin

from layerkit.document.problem import DocumentError, Problem
from layerkit.document.tree import Document, KeyPath, describe
from layerkit.oci.digest import shorten

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound="BaseModel")

_KEY: Final = "[key]"
"""What pydantic appends to the path of a key that is invalid itself."""

_LIMITS: Final = {
    "greater_than_equal": "expected {ge} or more",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected {le} or less",
    "less_than": "expected less than {lt}",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
}


def validate(document: Document, model: type[Model]) -> Model:
    """The document as an instance of `model`, a Section. Raises DocumentError with all that is wrong with it."""
    # Not at the top: who only parses does not pay for pydantic, about 0.1 s.
    from pydantic import ValidationError  # noqa: PLC0415

    blank = dict(_find_blanks(document, model))
    try:
        instance = model.model_validate(document.values)
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if detail["loc"] not in blank]
        # `image: x` in the place of `from: x` is one mistake: the key is there, by another word.
        meant = {_meant(detail["loc"], model) for detail in details if detail["type"] == "extra_forbidden"}
        details = [detail for detail in details if detail["type"] != "missing" or detail["loc"] not in meant]
        raise DocumentError([*blank.values(), *(_explain(detail, model, document) for detail in details)]) from None
    if blank:
        raise DocumentError(blank.values())
    return instance


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is meant, if one is near: `WorkingDir`, `working-dir` and `wrking_dir` are `working_dir`."""
    spellings = {word.lower(): word for word in known}
    alike = {_flatten(each): spelling for each, spelling in spellings.items()}
    near = difflib.get_close_matches(word.lower(), spellings, n=1)
    return alike.get(_flatten(word)) or (spellings[near[0]] if near else None)


def name_path(path: KeyPath) -> str:
    """A path for people: `layers[0].copy[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _flatten(word: str) -> str:
    return re.sub(r"[-_ ]", "", word).lower()


def _within(path: KeyPath) -> str:
    return f" in {name_path(path)}" if path else ""


def _find_blanks(document: Document, model: type["BaseModel"]) -> Iterator[tuple[KeyPath, Problem]]:
    """Known keys without a value: `user:` is a line that was not finished, and must not pass for a default."""
    pending: list[tuple[KeyPath, Any]] = [((), document.values)]
    while pending:
        path, value = pending.pop()
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for part, child in children:
            here = (*path, part)
            if child is not None:
                pending.append((here, child))
            elif part in _fields(_model_at(model, path)):
                message = f"`{part}` has no value"
                yield here, document.problem(document.locate(here), message, "give it one, or remove the key")


def _explain(detail: "ErrorDetails", model: type["BaseModel"], document: Document) -> Problem:
    path, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    at_key = kind == "extra_forbidden"
    if path and path[-1] == _KEY and not at_key and document.locate(path) == document.locate(path[:-1]):
        # Nothing stands there, so this is no key that somebody named `[key]`.
        path, at_key = path[:-1], True
    refused = context.get("error")
    hint = str(getattr(refused, "hint", ""))
    found = describe(detail["input"])
    match kind:
        case "missing":
            return _explain_missing(path, document)
        case "extra_forbidden":
            message, hint = _explain_unknown(path, _model_at(model, path[:-1]))
        case "value_error" | "assertion_error":
            message = str(refused)
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            message = f"expected a map, found {found}"
        case "list_type" | "tuple_type" | "set_type":
            message = f"expected a list, found {found}"
        case _ if kind in _LIMITS:
            message = f"{_LIMITS[kind].format_map(context)}, found {found}"
            if "expected" in context:
                hint = _ask(closest(str(detail["input"]), re.findall(r"'([^']*)'", str(context["expected"]))))
        case _:
            message = detail["msg"].replace("Input should be", "expected") + f", found {found}"
    return document.problem(document.locate(path, key=at_key), message, hint)


def _explain_missing(path: KeyPath, document: Document) -> Problem:
    parent = path[:-1]
    # A map in the file is named by its key; an item of a list has none, and begins where its first key does.
    at_key = bool(parent) and isinstance(parent[-1], str)
    return document.problem(document.locate(parent, key=at_key), f"missing key `{path[-1]}`{_within(parent)}")


def _explain_unknown(path: KeyPath, model: type["BaseModel"] | None) -> tuple[str, str]:
    word = str(path[-1])
    if word in getattr(model, "later", ()):
        return f"`{word}` is not supported yet by this version", ""
    known = sorted(_fields(model))
    advice: Mapping[str, str] = getattr(model, "elsewhere", {})
    hint = advice.get(word, "") or _ask(_mean(word, model)) or (f"known keys: {', '.join(known)}" if known else "")
    return f"unknown key {shorten(word)}{_within(path[:-1])}", hint


def _mean(word: str, model: type["BaseModel"] | None) -> str | None:
    """The key that an unknown one stands for: by the model's table of other dialects, else by its letters."""
    other_words: Mapping[str, str] = getattr(model, "other_words", {})
    return other_words.get(word) or other_words.get(word.lower()) or closest(word, _fields(model))


def _meant(path: KeyPath, model: type["BaseModel"]) -> KeyPath:
    return (*path[:-1], _mean(str(path[-1]), _model_at(model, path[:-1])) or "")


def _ask(word: str | None) -> str:
    return f"did you mean `{word}`?" if word else ""


def _fields(model: type["BaseModel"] | None) -> dict[str, Any]:
    """Its keys as a document spells them, and what each one's value may be."""
    if model is None:
        return {}
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_at(model: type["BaseModel"], path: KeyPath) -> type["BaseModel"] | None:
    """The model of the map at `path`, None where it is no map with known keys."""
    here: Any = model
    for part in path:
        if hasattr(here, "model_fields"):
            here = _unwrap(_fields(here).get(str(part)))
        else:
            # Items of list[X] and tuple[X, ...], values of dict[str, X].
            arguments = get_args(here)
            here = _unwrap(arguments[-1 if get_origin(here) is dict else 0]) if arguments else None
    return here if hasattr(here, "model_fields") else None


def _unwrap(annotation: Any) -> Any:
    """Without Annotated, and without `| None`."""
    while get_args(annotation) and get_origin(annotation) not in {tuple, list, dict}:
        annotation = next(argument for argument in get_args(annotation) if argument is not type(None))
    return annotation
