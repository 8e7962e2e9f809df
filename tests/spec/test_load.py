"""From a path to a Spec (SPEC, "File and context")."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from layerkit.document.problem import DocumentError
from layerkit.document.types import Section
from layerkit.oci.platform import parse_platform
from layerkit.spec.load import load_file
from layerkit.spec.model import Spec
from layerkit.spec.shape import ConfigShape, CopyShape, HealthcheckShape, LayerShape, SpecShape

AMD64 = parse_platform("linux/amd64")
WORDS = ["from: ", "scratch", "layers: ", "copy: ", "config: ", "vars: ", "env: ", "a:/b", "${", "}", "A", "[", "{"]


def load_one(path: Path | str) -> Spec:
    return load_file(path, default_platform=AMD64).images[0].specs[0]


def test_the_name_is_the_stem_of_the_file(folder: Path) -> None:
    """ "A one-image file takes its name from `name:`, else from the file's stem"."""
    Path("web.yaml").write_text("from: scratch")
    assert load_one("web.yaml").name == "web"


def test_the_name_is_that_of_the_folder_for_the_default_file(folder: Path) -> None:
    """ "for `layerkit.yaml` from its folder"; "the context is the file's folder"."""
    Path("layerkit.yaml").write_text("from: scratch")
    elsewhere = folder / "sub"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    for path in (Path("../layerkit.yaml"), folder / "layerkit.yaml"):
        spec = load_one(path)
        assert (spec.name, spec.context) == ("shop", folder.resolve())


def test_a_file_name_that_is_no_image_name_asks_for_one(folder: Path) -> None:
    Path("My App.yaml").write_text("from: scratch")
    with pytest.raises(DocumentError) as caught:
        load_file("My App.yaml", default_platform=AMD64)
    assert caught.value.render().splitlines() == [
        "My App.yaml:1:1: the image needs a name: that of its file, 'My App', does not fit a repository",
        "    from: scratch",
        "    ^",
        "  hint: add `name: my-app`",
    ]


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        load_file("layerkit.yaml", default_platform=AMD64)
    assert caught.value.render().splitlines() == [
        "layerkit.yaml: there is no such file",
        "  hint: name the build spec with -f FILE",
    ]


def test_a_folder_is_no_build_spec(folder: Path) -> None:
    """ "`layerkit build .` is an error that says so (`-f`)"."""
    with pytest.raises(DocumentError) as caught:
        load_file(".", default_platform=AMD64)
    assert caught.value.render().splitlines() == [
        ".: this is a folder, not a build spec",
        "  hint: name the file: -f layerkit.yaml",
    ]


def test_a_file_below_a_file_cannot_be_read(folder: Path) -> None:
    Path("a").write_text("")
    with pytest.raises(DocumentError, match="a/b: cannot be read: Not a directory"):
        load_file("a/b", default_platform=AMD64)


def load_bytes(folder: Path, content: bytes) -> Spec | None:
    path = folder / "any.yaml"
    path.write_bytes(content)
    try:
        return load_one(path)
    except DocumentError as error:
        error.render()
        return None


@example(b"from: scratch\nlayers: [{copy: [a:/b]}]")
@example(b"a: &a [*a]")
@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.lists(st.sampled_from([*WORDS, "]", ",", "\n", "  ", "- ", '"', "*x ", "&x ", "|", "?"]))
        .map("".join)
        .map(str.encode),
    )
)
def test_any_bytes_are_a_spec_or_a_document_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "garbage"
    folder.mkdir(exist_ok=True)
    load_bytes(folder, content)


SHAPES: list[type[Section]] = [SpecShape, LayerShape, CopyShape, ConfigShape, HealthcheckShape]
KEYS = st.sampled_from([key for shape in SHAPES for key in shape.model_fields]) | st.sampled_from(
    ["from", "copy", "/a", "A", "apt", "image", "[key]"]
)
VALUES = st.recursive(
    st.none() | st.text(max_size=8) | st.sampled_from(["scratch", "a:/b", "/a", "0755", "30s", "${arch}", "1", "~"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, VALUES))
def test_any_tree_of_values_is_a_spec_or_a_document_error(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "garbage"
    folder.mkdir(exist_ok=True)
    load_bytes(folder, json.dumps(tree).encode())


def test_naming_a_missing_file_does_not_import_pydantic() -> None:
    code = """
import sys
from layerkit.oci.platform import parse_platform
from layerkit.spec import load, model
try:
    load.load_file('/nowhere/layerkit.yaml', default_platform=parse_platform('linux/amd64'))
except load.DocumentError:
    pass
assert 'pydantic' not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
