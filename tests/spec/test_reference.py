"""docs/spec.md: its examples can be loaded, and it names every key that there is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerkit.oci.platform import parse_platform
from layerkit.spec.load import load_file
from layerkit.spec.schema import build_schema
from tests.programs import PROJECT

REFERENCE = (PROJECT / "docs/spec.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
README_EXAMPLES = re.findall(r"```yaml\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES) + len(README_EXAMPLES)))
def test_every_example_can_be_loaded(number: int, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text([*EXAMPLES, *README_EXAMPLES][number])
    found = load_file(path, variables={}, default_platform=parse_platform("linux/amd64"), source_date_epoch=None)
    assert found.images


def keys(schema: dict[str, Any]) -> Iterator[str]:
    for definition in schema["$defs"].values():
        for form in (definition, *definition.get("anyOf", ())):
            yield from form.get("properties", ())


def test_every_key_is_named() -> None:
    named = set(re.findall(r"[a-z_0-9]+", REFERENCE))
    # Of the healthcheck's times one stands for all.
    alike = {"timeout", "start_period", "start_interval"}
    assert set(keys(build_schema())) - named - alike == set()
