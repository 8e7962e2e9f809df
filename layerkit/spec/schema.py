"""The JSON Schema of a spec, for editors: made from the models that validate (SPEC, rule 10).

It accepts whatever they accept, where a text that YAML takes for a number is quoted, and refuses the mistakes that a
schema can tell: unknown keys, missing ones, wrong types. Source: JSON Schema 2020-12.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from layerkit.document.types import Section
from layerkit.spec.shape import FileShape, SpecShape

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SUFFIX: Final = "Shape"
_VARIABLE: Final = r"\$\{"
"""Whose value nobody knows before the build."""


def build_schema() -> dict[str, Any]:
    """The schema of a file, as values for JSON."""
    _, found = models_json_schema([(SpecShape, "validation"), (FileShape, "validation")])
    definitions = found["$defs"]
    for model in _models(Section):
        if model.__name__ in definitions:
            _describe(definitions[model.__name__], model)
    definitions = {_rename(name): _simplify(schema) for name, schema in sorted(definitions.items())}
    top = {
        "$schema": DIALECT,
        "title": "layerkit build spec",
        "description": "A container image, or several by name under `images`.",
        "type": "object",
        "if": {"required": ["images"]},
        "then": {"$ref": f"#/$defs/{_rename(FileShape.__name__)}"},
        "else": {"$ref": f"#/$defs/{_rename(SpecShape.__name__)}"},
    }
    return {**top, "$defs": {name: definitions[name] for name in sorted(_reach(top, definitions))}}


def _reach(schema: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    """The definitions that a schema needs. Of some values pydantic also tells what they are in Python."""
    reached: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        match waiting.pop():
            case dict() as found:
                name = str(found.get("$ref", "")).rpartition("/")[2]
                if name and name not in reached:
                    reached.add(name)
                    waiting.append(definitions[name])
                waiting += found.values()
            case list() as items:
                waiting += items
            case _:
                pass
    return reached


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Give each key the text that stands below it in the model."""
    # The form with keys, where there is a short one beside it.
    form = next(form for form in (schema, *schema.get("anyOf", ())) if "properties" in form)
    properties = form["properties"]
    # What a class is for tells who reads its code, not who writes a spec.
    form.pop("description", None)
    texts = _read_texts(model)
    for name, field in model.model_fields.items():
        if text := texts.get(name, ""):
            properties[field.alias or name]["description"] = text


def _read_texts(model: type[BaseModel]) -> dict[str, str]:
    """The strings below the attributes of a class and of those that it inherits from."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base in {Section, BaseModel} or not issubclass(base, Section):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for statement, below in pairwise(statements):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = inspect.cleandoc(text).replace("\n", " ")
                case _:
                    pass
    return texts


def _rename(name: str) -> str:
    return name.removesuffix(_SUFFIX)


def _simplify(schema: Any) -> Any:
    """Without what only Python has: a key may be left out, but never be null, and titles that repeat the key."""
    if isinstance(schema, list):
        return [_simplify(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    simple: dict[str, Any] = {}
    for key, value in schema.items():
        match key, value:
            case "title" | "default", _:
                continue
            case "$ref", str():
                simple[key] = _rename(value)
            case "properties", dict():
                # Its keys are those of the file, and one may be called `default`. None of them may be null.
                simple[key] = {name: _required(_simplify(child)) for name, child in value.items()}
            case _:
                simple[key] = _simplify(value)
    if "enum" in simple:
        words = {key: simple.pop(key) for key in ("type", "enum")}
        simple["anyOf"] = [words, {"type": "string", "pattern": _VARIABLE}]
    return simple


def _required(schema: dict[str, Any]) -> dict[str, Any]:
    forms = [form for form in schema.get("anyOf", ()) if form != {"type": "null"}]
    if not forms:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **forms[0]} if len(forms) == 1 else {**rest, "anyOf": forms}
