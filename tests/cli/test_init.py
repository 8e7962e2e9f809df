"""layerkit init: a first spec that can be loaded, whatever the folder holds."""

from pathlib import Path

import pytest

from layerkit.oci.platform import parse_platform
from layerkit.spec.load import load_file
from layerkit.spec.model import RegistryBase, Scratch, SpecFile
from tests.programs import LayerkitProcess


def load(folder: Path) -> SpecFile:
    return load_file(
        folder / "layerkit.yaml", variables={}, default_platform=parse_platform("linux/amd64"), source_date_epoch=None
    )


def make(folder: Path, *names: str, content: str = "") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("names", "kind", "base"),
    [
        (("go.mod", "main.go"), "a Go program", "scratch"),
        (("Cargo.toml", "src/main.rs"), "a Rust program", "scratch"),
        (("pyproject.toml", "src/shop/__init__.py"), "a Python project", "docker.io/library/python:3-slim"),
        (("requirements.txt", "shop/__init__.py"), "a Python project", "docker.io/library/python:3-slim"),
        (("requirements.txt", "main.py"), "a Python project", "docker.io/library/python:3-slim"),
        (("package.json", "server.js", "public/x.css"), "a Node.js project", "docker.io/library/node:lts-slim"),
        (("public/index.html",), "a web site", "docker.io/library/nginx:stable"),
        (("index.html",), "a web site", "docker.io/library/nginx:stable"),
        (("notes.txt",), "a folder of files", "scratch"),
        ((), "a folder of files", "scratch"),
    ],
)
def test_the_spec_fits_what_the_folder_holds(
    names: tuple[str, ...], kind: str, base: str, layerkit: LayerkitProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    make(folder, *names)
    done = layerkit("init", folder)
    assert done.stdout.splitlines() == [f"wrote {folder}/layerkit.yaml: {kind}", f"wrote {folder}/.dockerignore"]
    (image,) = load(folder).images
    assert image.name == "shop"
    found = image.specs[0].base
    assert (str(found.reference) if isinstance(found, RegistryBase) else "scratch") == base


def test_a_binary_is_an_image_that_can_be_built_at_once(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    folder = make(tmp_path / "My Agent!", "README.md")
    (folder / "dist").mkdir()
    (folder / "dist/agent").write_bytes(b"\x7fELF" + bytes(100))
    assert "a program" in layerkit("init", folder).stdout
    layerkit("build", "-f", folder / "layerkit.yaml")
    assert isinstance(load(folder).images[0].specs[0].base, Scratch)
    assert layerkit("ls", "my-agent", "/usr/bin").stdout == "agent\n"


def test_a_folder_of_files_can_be_built_at_once(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    folder = make(tmp_path / "notes", "a.txt", ".git/config", "b/__pycache__/x.pyc")
    layerkit("init", cwd=folder)
    layerkit("build", "-q", cwd=folder)
    shown = layerkit("plan", cwd=folder).stdout
    assert "/srv/app/a.txt" in shown
    assert ".git" not in shown.replace(".dockerignore", "")
    assert "pycache" not in shown


def test_nothing_is_replaced_unasked(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    folder = make(tmp_path / "shop", "layerkit.yaml", ".dockerignore", content="mine")
    done = layerkit("init", folder, check=False)
    assert done.code == 2
    assert "layerkit.yaml is there already: --force replaces it" in done.stderr
    assert (folder / "layerkit.yaml").read_text() == "mine"
    layerkit("init", folder, "--force")
    assert load(folder).images
    assert (folder / ".dockerignore").read_text() == "mine"
