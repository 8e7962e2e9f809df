"""The JSON Schema: an editor sees the mistakes of a spec, and none in one that can be built."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import given, settings

from layerkit.cli.main import cli
from layerkit.document.parse import parse_document
from layerkit.document.problem import DocumentError
from layerkit.document.tree import Scalar
from layerkit.spec.schema import build_schema
from tests.spec.specimens import KEYS, REPOSITORY, RIGHT, TREES, load_text

SCHEMA = build_schema()
SPECS = sorted(REPOSITORY.glob("specs/**/*.yaml"))


def as_editors_see_it(value: Any) -> Any:
    """YAML 1.2.2, 10.3 "Core Schema", which an editor gives the types of."""
    match value:
        case dict():
            return {key: as_editors_see_it(child) for key, child in value.items()}
        case list():
            return [as_editors_see_it(child) for child in value]
        case Scalar() if value.plain and re.fullmatch(r"[-+]?[0-9]+", value):
            return int(value)
        case Scalar() if value.plain and re.fullmatch(r"0o[0-7]+", value):
            return int(value, 8)
        case Scalar() if value.plain and re.fullmatch(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", value
        ):
            return float(value)
        case Scalar() if value.plain and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        case _:
            return value


def errors(text: str) -> list[str]:
    """What the schema says of a spec, as `path: keyword` of each mistake."""
    value = as_editors_see_it(parse_document(text, "layerkit.yaml").values)
    found = jsonschema.Draft202012Validator(SCHEMA).iter_errors(value)
    return [f"{error.json_path.removeprefix('$').removeprefix('.')}: {error.validator}" for error in found]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name)
def test_the_specs_of_this_repository_pass_the_schema(path: Path) -> None:
    """Rule 10: "The JSON Schema is generated from the model that validates"."""
    assert errors(path.read_text()) == []


@pytest.mark.parametrize("text", RIGHT)
def test_what_can_be_built_passes_the_schema(text: str) -> None:
    load_text(text)
    assert errors(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from: scratch\nconfig: {command: [a]}", ["config: additionalProperties"]),
        ("name: a", [": required"]),
        ("from: scratch\nconfig: {entrypoint: a b}", ["config.entrypoint: type"]),
        ("from: scratch\nconfig: {user: }", ["config.user: anyOf"]),
        ("from: scratch\nlayers: [{copy: [{src: a}]}]", ["layers[0].copy[0]: anyOf"]),
        ("from: scratch\nlayers: [{copy: [{src: a, content: b, dest: /c}]}]", ["layers[0].copy[0]: anyOf"]),
        ("from: scratch\nlayers: [{fetch: [{url: 'ftp://a/b', dest: /c}]}]", ["layers[0].fetch[0].url: pattern"]),
        ("from: scratch\nlayers: [{remove: [usr]}]", ["layers[0].remove[0]: pattern"]),
        ("from: scratch\nplatforms: [amd64]", ["platforms[0]: pattern"]),
        ("from: scratch\ncompression: zstd:20", ["compression: pattern"]),
        ("from: scratch\ncompression: gzip:0", ["compression: pattern"]),
        ("from: scratch\ncompression: gzip:slow", ["compression: pattern"]),
        ("from: scratch\nmode: '755'", ["mode: anyOf"]),
        ("images: {a: {from: scratch}}\nfrom: scratch", [": additionalProperties"]),
        ("images: {a: {from: scratch, name: b}}", ["images.a: additionalProperties"]),
        ("defaults: {lables: {}}\nimages: {a: {from: scratch}}", ["defaults: additionalProperties"]),
    ],
)
def test_what_a_schema_can_tell_it_tells(text: str, found: list[str]) -> None:
    assert errors(text) == found


@settings(max_examples=200)
@given(TREES)
def test_any_tree_of_values_that_is_a_spec_passes_the_schema(tree: dict[str, object]) -> None:
    text = json.dumps(tree)
    try:
        load_text(text)
    except DocumentError:
        return
    assert errors(text) == []


def test_the_specimens_have_every_key_of_the_language() -> None:
    text = "".join(RIGHT)
    assert [key for key in KEYS if not re.search(rf"(?<![a-z_]){key}:", text)] == []


def test_every_key_tells_an_editor_what_it_is_for() -> None:
    """What stands below a key of the model is what people see when they point at it."""
    silent = []
    for name, definition in SCHEMA["$defs"].items():
        for form in (definition, *definition.get("anyOf", ())):
            silent += [
                f"{name}.{key}" for key, value in form.get("properties", {}).items() if "description" not in value
            ]
    assert silent == []


def test_the_command_prints_the_schema() -> None:
    """ "The JSON Schema is generated from the model that validates (`layerkit schema`)"."""
    done = CliRunner().invoke(cli, ["schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == SCHEMA
