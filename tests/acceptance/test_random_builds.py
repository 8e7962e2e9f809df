"""Specs at random on bases at random: what is asked for is there, what is not touched is as it was, and `ls` knows it.

Every build is unpacked by umoci. A spec that cannot be built is refused with its place and without a traceback.
"""

import asyncio
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from layerkit.layer.entry import EntryType
from tests.acceptance.fixtures import Fixture
from tests.acceptance.image import TAG, write_image
from tests.acceptance.listing import comparable, listed_tree
from tests.acceptance.sandbox import Forks, Run, Sandbox, run_forks
from tests.acceptance.stacks import make_stack
from tests.acceptance.tree import Node, Tree, read_folder
from tests.programs import run_program

pytestmark = pytest.mark.engine

SEEDS: Final = 60


@dataclass(frozen=True)
class Step:
    """One line of a spec: `kind` is copy, directory, symlink or remove."""

    kind: str
    path: str
    text: str = ""
    mode: int = 0
    uid: int = 0


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with run_forks() as forks:
        yield forks


def make_steps(tree: Tree, seed: int) -> list[Step]:
    chance = random.Random(seed)
    known = sorted(path for path in tree if path.count("/") > 0)
    steps = []
    for number in range(chance.randint(1, 4)):
        path = "s/" + "/".join(chance.choice("abcd") for _ in range(chance.randint(1, 3)))
        mode, uid = chance.choice([0o600, 0o755, 0o4711]), chance.randint(0, 9)
        kind = chance.choice(["copy", "copy", "directory", "symlink", "remove"])
        if kind == "remove" and known:
            steps.append(Step("remove", chance.choice(known)))
        elif kind != "remove":
            text = chance.choice(["a", "../s", "/nowhere"]) if kind == "symlink" else f"content {number}"
            steps.append(Step(kind, path, text, mode, uid))
    return steps


def write_spec(steps: list[Step]) -> str:
    def of(kind: str) -> list[Step]:
        return [step for step in steps if step.kind == kind]

    layer = {
        "copy": [
            {
                "content": step.text,
                "dest": f"/{step.path}",
                "mode": f"{step.mode:#o}",
                "owner": f"{step.uid}:{step.uid}",
            }
            for step in of("copy")
        ],
        "directory": [
            {"path": f"/{step.path}", "mode": f"{step.mode:#o}", "owner": f"{step.uid}:{step.uid}"}
            for step in of("directory")
        ],
        "symlink": {f"/{step.path}": step.text for step in of("symlink")},
        "remove": [f"/{step.path}" for step in of("remove")],
    }
    spec = {"name": "random", "from": "oci:base", "layers": [{key: value for key, value in layer.items() if value}]}
    return json.dumps(spec)


def resolve(tree: Tree, path: str) -> str | None:
    """Where a path leads, symlinks among its parents followed within the root; None for loops."""
    names: list[str] = []
    pending, followed = path.split("/")[::-1], 0
    while pending:
        name = pending.pop()
        if name in {"", "."}:
            continue
        if name == "..":
            names = names[:-1]
            continue
        node = tree.get("/".join([*names, name]))
        if node is None or node.type != EntryType.SYMLINK or not pending:
            names.append(name)
            continue
        followed += 1
        if followed > 40:
            return None
        names = [] if node.link.startswith("/") else names
        pending += node.link.split("/")[::-1]
    return "/".join(names)


def unpack(layout: Path, target: Path) -> Tree:
    run_program("umoci", "unpack", "--image", f"{layout}:{TAG}", target)
    tree = read_folder(target / "rootfs")
    shutil.rmtree(target)
    return tree


def is_below(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_build_makes_what_the_spec_says_and_leaves_the_rest(forks: Forks, tmp_path: Path, seed: int) -> None:
    sandbox = Sandbox.make(tmp_path, forks)
    base = Fixture(name="base", layers=tuple(tuple(layer) for layer in make_stack("s", 1000 + seed)))
    asyncio.run(write_image(sandbox.context / "base", [base]))
    before = unpack(sandbox.context / "base", tmp_path / "before")
    steps = make_steps(before, seed)
    done = sandbox.build(write_spec(steps), "--platform", "linux/amd64", "-o", f"oci:{tmp_path}/built:{TAG}")
    if done.code != 0:
        check_refusal(done)
        return
    after = unpack(tmp_path / "built", tmp_path / "after")
    check_built(steps, before, after)
    check_listed(sandbox, after)


def check_refusal(done: Run) -> None:
    assert done.code == 2, done
    assert "Traceback" not in done.stderr
    assert "layerkit.yaml:1:" in done.stderr


def check_built(steps: list[Step], before: Tree, after: Tree) -> None:
    removed = {step.path for step in steps if step.kind == "remove"}
    kept = {path: node for path, node in before.items() if not is_below(path, removed)}
    made: dict[str, Step] = {}
    # Of a copy and a symlink to one place the symlink comes later, and wins.
    for step in sorted(steps, key=lambda step: step.kind == "symlink"):
        if step.kind != "remove":
            # A directory is that which a symlink of the base leads to, be it there already or not.
            place = resolve(kept, f"{step.path}/." if step.kind == "directory" else step.path)
            assert place is not None
            made[place] = step
    for path, step in made.items():
        check_made(step, after[path])
    # Names of one file are told of all, be they removed or not.
    untouched = {path for path in kept if not is_below(path, set(made))}
    for path in untouched:
        assert _without_names(after[path]) == _without_names(before[path]), path
    parents = {parent for path in made for parent in _parents(path)}
    assert {path for path in after if path not in kept} <= {*made, *parents}
    assert {path for path in after if is_below(path, removed) and path not in {*made, *parents}} == set()


def check_made(step: Step, node: Node) -> None:
    match step.kind:
        case "copy":
            assert (node.type, node.mode, node.uid, node.size) == ("file", step.mode, step.uid, len(step.text))
        case "directory":
            assert (node.type, node.mode, node.uid) == ("directory", step.mode, step.uid)
        case _:
            assert (node.type, node.link) == ("symlink", step.text)


def _without_names(node: Node) -> dict[str, Any]:
    return {"type": node.type, "mode": node.mode, "owner": (node.uid, node.gid), "mtime": node.mtime} | {
        "content": node.sha256,
        "link": node.link,
        "xattrs": node.xattrs,
    }


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def check_listed(sandbox: Sandbox, after: Tree) -> None:
    listed = json.loads(sandbox("ls", "-R", "--format", "json", "localhost/hostile:1").stdout)
    assert listed_tree(listed) == comparable(after)
