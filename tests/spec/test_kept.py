"""A spec that was loaded before is found again for the same question alone, and is the same value then."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from layerkit.document.problem import DocumentError
from layerkit.document.tree import Node, Scalar
from layerkit.oci.platform import parse_platform
from layerkit.spec.kept import decode_file, encode_file
from layerkit.spec.load import load_file
from layerkit.spec.model import SpecFile
from tests.spec.specimens import AMD64, REPOSITORY, RIGHT, SEVERAL, SINGLE, TREES, load_text
from tests.spec.test_reference import EXAMPLES, README_EXAMPLES
from tests.spec.test_timestamp import GIT, git

QUOTED = """from: scratch\nlabels: {a: "no", b: no, c: ""}"""
SPECS = sorted(REPOSITORY.glob("specs/*/*.yaml"))


class Memory:
    """Files that are kept in memory; `found` counts those that were asked for and there."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.found = 0

    def find(self, key: str) -> bytes | None:
        self.found += key in self.kept
        return self.kept.get(key)

    def keep(self, key: str, content: bytes) -> None:
        self.kept[key] = content


def load_twice(path: Path | str, **options: Any) -> tuple[SpecFile, SpecFile]:
    """As parsed and as found again."""
    memory = Memory()
    first, second = (
        load_file(path, **{"default_platform": AMD64, "files": memory, "program": "p", **options}) for _ in range(2)
    )
    assert memory.found == 1
    return first, second


def check_same(first: SpecFile, second: SpecFile) -> None:
    """`==` alone knows no quotes of a scalar, and takes a kind of text or of map for another."""
    assert second is not first
    assert second == first
    assert repr(second) == repr(first)
    for one, other in zip(documents(first), documents(second), strict=True):
        assert list(leaves(one)) == list(leaves(other))
    assert all(document.source is second.document.source for document in [i.document for i in specs(second)])


def specs(file: SpecFile) -> list[Any]:
    return [spec for image in file.images for spec in image.specs]


def documents(file: SpecFile) -> list[Node]:
    return [file.document.root, *(spec.document.root for spec in specs(file))]


def leaves(node: Node) -> Any:
    if isinstance(node.content, Scalar):
        yield node.content, node.content.plain, node.position
    yield node.size, node.height, node.position
    for child in node.children():
        yield from leaves(child)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_our_own_specs_are_the_same_when_they_are_found_again(path: Path) -> None:
    check_same(*load_twice(path))


@pytest.mark.parametrize("text", [*EXAMPLES, *README_EXAMPLES, *RIGHT, QUOTED])
def test_each_key_of_the_language_is_the_same_when_it_is_found_again(text: str, folder: Path) -> None:
    Path("any.yaml").write_text(text)
    check_same(*load_twice("any.yaml", platforms=(parse_platform("linux/arm/v7"), AMD64), source_date_epoch=7))
    check_same(*load_twice(folder / "any.yaml", source_date_epoch=7))


@given(TREES)
def test_any_tree_of_values_that_is_a_spec_is_the_same_when_it_is_found_again(tree: dict[str, object]) -> None:
    try:
        file = load_text(json.dumps(tree))
    except DocumentError:
        return
    raw = encode_file(file)
    if raw is None:
        # JSON writes a text that is not Unicode, which no file can hold, where nobody reads it.
        assert "\\ud" in json.dumps(tree)
        return
    again = decode_file(raw, str(file.path))
    assert again is not None
    check_same(file, again)


def test_what_turns_out_wrong_later_has_its_line(folder: Path) -> None:
    Path("layerkit.yaml").write_text(SINGLE)
    for file in load_twice("layerkit.yaml"):
        spec = file.images[0].specs[0]
        assert spec.problem(spec.layers[0].copies[0].position, "is missing").render().splitlines() == [
            "layerkit.yaml:16:9: is missing",
            "          - ./src:/srv/app/",
            "            ^",
        ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("program", "newer"),
        ("variables", {"TAG": "other"}),
        ("default_platform", parse_platform("linux/arm64")),
        ("platforms", (parse_platform("linux/arm64"),)),
        ("source_date_epoch", 0),
    ],
)
def test_another_question_has_its_own_answer(folder: Path, name: str, value: object) -> None:
    Path("layerkit.yaml").write_text(SEVERAL)
    memory = Memory()
    usual: dict[str, Any] = {"default_platform": AMD64, "files": memory, "program": "p", "variables": {"TAG": "one"}}
    load_file("layerkit.yaml", **usual)
    found = load_file("layerkit.yaml", **{**usual, name: value})
    assert (memory.found, len(memory.kept)) == (0, 2)
    usual.pop("files")
    assert found == load_file("layerkit.yaml", **{**usual, name: value})


def test_another_text_or_place_has_its_own_answer(folder: Path) -> None:
    memory = Memory()
    (folder / "sub").mkdir()

    def load(path: str, text: str) -> SpecFile:
        Path(path).write_text(text)
        return load_file(path, default_platform=AMD64, files=memory)

    text = "from: scratch"
    assert load("layerkit.yaml", text).images[0].name == "shop"
    assert load("web.yaml", text).images[0].name == "web"
    assert load("sub/layerkit.yaml", text).images[0].name == "sub"
    assert load("layerkit.yaml", f"{text} ").document.source.lines == (f"{text} ",)
    # By its whole path it is called otherwise in errors.
    assert load(str(folder / "web.yaml"), text).document.file == str(folder / "web.yaml")
    (folder / "sub" / "web.yaml").write_text(text)
    os.chdir(folder / "sub")
    assert load("web.yaml", text).context == folder / "sub"
    assert memory.found == 0


def test_git_is_asked_each_time(folder: Path) -> None:
    git("init", "-q")
    Path("layerkit.yaml").write_text(GIT)
    memory = Memory()

    def load(*, source_date_epoch: int | None = None) -> int:
        file = load_file("layerkit.yaml", default_platform=AMD64, files=memory, source_date_epoch=source_date_epoch)
        return file.images[0].specs[0].timestamp

    for second in (1700000000, 1700000001):
        git("commit", "-q", "--allow-empty", "-m", "a", date=second)
        found = memory.found
        assert (load(), load()) == (second, second)
        # That it asks is known the second time at the latest, and the second file of each commit.
        assert memory.found - found == (2 if second == 1700000000 else 3)
    git("reset", "-q", "--soft", "HEAD~1")
    assert load() == 1700000000
    assert load(source_date_epoch=5) == 5
    shutil.rmtree(".git")
    with pytest.raises(DocumentError, match=r"layerkit\.yaml:2:12: `timestamp: git`: git knows no commit"):
        load()


def test_what_is_wrong_is_found_wrong_each_time(folder: Path) -> None:
    Path("layerkit.yaml").write_text("from: scratch\nlayer: []")
    memory = Memory()
    for _ in range(2):
        with pytest.raises(DocumentError, match="unknown key 'layer'"):
            load_file("layerkit.yaml", default_platform=AMD64, files=memory)
    assert memory.kept == {}


def sealed(value: object) -> bytes:
    payload = msgspec.msgpack.encode(value)
    return hashlib.sha256(payload).digest() + payload


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[:40],
        lambda raw: bytes([*raw[:-1], raw[-1] ^ 1]),
        lambda raw: sealed(None),
        lambda raw: sealed([[], ["SpecFile"]]),
        lambda raw: sealed([[], ["Path", "/a"]]),
        lambda raw: sealed([[], ["system", "reboot"]]),
        lambda raw: sealed([[], ["Digest", "sha256:no"]]),
    ],
)
def test_what_is_damaged_is_loaded_anew(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    Path("layerkit.yaml").write_text(SINGLE)
    memory = Memory()
    first = load_file("layerkit.yaml", default_platform=AMD64, files=memory)
    ((key, raw),) = memory.kept.items()
    memory.kept[key] = damage(raw)
    assert load_file("layerkit.yaml", default_platform=AMD64, files=memory) == first
    assert memory.kept == {key: raw}


def test_a_folder_whose_name_is_not_utf_8_is_loaded_each_time(folder: Path) -> None:
    odd = Path(os.fsdecode(b"odd-\xff"))
    odd.mkdir()
    (odd / "layerkit.yaml").write_text("name: a\nfrom: scratch")
    memory = Memory()
    for _ in range(2):
        file = load_file(odd / "layerkit.yaml", default_platform=AMD64, files=memory)
        assert file.context == folder / odd
    assert memory.kept == {}


def test_what_is_found_again_needs_no_parser(folder: Path) -> None:
    """Each takes longer to import than a build that changes nothing may take in all."""
    Path("layerkit.yaml").write_text(SEVERAL)
    code = """
import sys
from pathlib import Path
from layerkit.build.folder import CacheFolder
from layerkit.oci.platform import parse_platform
from layerkit.spec.load import load_file
load_file('layerkit.yaml', default_platform=parse_platform('linux/amd64'), files=CacheFolder(folder=Path('kept')))
print(*sorted({'pydantic', 'yaml', 'difflib', 'subprocess'} & sys.modules.keys()))
"""
    run = [sys.executable, "-c", code]
    first, second = (subprocess.run(run, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert (first, second) == ("difflib pydantic yaml\n", "\n")
