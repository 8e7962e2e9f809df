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
from layerkit.spec.load import load_file
from layerkit.spec.model import Spec
from tests.spec.specimens import AMD64, TREES, load_text

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


@example(b"from: scratch\nlayers: [{copy: [a:/b]}]")
@example(b"a: &a [*a]")
@example(b"images: {a: {from: a, layers: [{copy: [{from: a, src: /a, dest: /b}]}]}}")
@example(b"defaults: 1\nimages: {a: 2, b: }")
@example(b'from: "\\ud800"')
@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.lists(st.sampled_from([*WORDS, "]", ",", "\n", "  ", "- ", '"', "*x ", "&x ", "|", "?"]))
        .map("".join)
        .map(str.encode),
    )
)
def test_any_bytes_are_a_spec_or_a_document_error(content: bytes) -> None:
    try:
        load_text(content)
    except DocumentError as error:
        error.render()


@given(TREES)
def test_any_tree_of_values_is_a_spec_or_a_document_error(tree: dict[str, object]) -> None:
    try:
        load_text(json.dumps(tree))
    except DocumentError as error:
        error.render()


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
