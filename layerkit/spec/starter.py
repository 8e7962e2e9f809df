"""A first spec for a project, by what stands in its folder. Blocking: it looks, and reads no more than it must."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from layerkit.oci.errors import OCIError
from layerkit.oci.reference import parse_repository_name
from layerkit.spec.text import suggest_name

DOCKERIGNORE: Final = """\
# What no image needs: never read, never copied (the rules are docker's).
.git
.dockerignore
layerkit.yaml
**/__pycache__
**/*.pyc
.venv
node_modules
target
"""
_MODELINE: Final = """\
# yaml-language-server: $schema=./layerkit.schema.json
# `layerkit schema > layerkit.schema.json` makes that file, by which editors know the keys.
"""
_ELF: Final = b"\x7fELF"
_PROGRAM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@dataclass(frozen=True, slots=True)
class Starter:
    """`kind` says in a few words what the folder was taken for."""

    kind: str
    spec: str


class _Kind(NamedTuple):
    name: str
    is_one: Callable[[Path], bool]
    write: Callable[[Path], str]


def start_spec(folder: Path) -> Starter:
    """A spec that can be loaded, for the project in `folder`. Its sources exist, or a comment says how to make them."""
    kind = next(kind for kind in _KINDS if kind.is_one(folder))
    name = _name(folder)
    return Starter(kind.name, f"{_MODELINE}name: {name}\n{kind.write(folder)}")


def _name(folder: Path) -> str:
    text = folder.resolve().name.lower()
    try:
        return parse_repository_name(text) if "/" not in text else suggest_name(text)
    except OCIError:
        return suggest_name(text)


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: any((folder / name).is_file() for name in names)


def _programs(folder: Path) -> list[str]:
    """Binaries where builds leave them, relative to the folder."""
    places = ("dist", "bin", "build", "target/release", ".")
    found = []
    for place in places:
        if (folder / place).is_dir():
            for path in sorted((folder / place).iterdir()):
                if path.is_file() and _PROGRAM.match(path.name) and path.suffix not in {".so", ".d", ".o", ".a"}:
                    with path.open("rb") as file:
                        if file.read(4) == _ELF:
                            found.append(path.relative_to(folder).as_posix())
    return found


def _static(folder: Path) -> str:
    program = _programs(folder)[0]
    name = program.rpartition("/")[2]
    return f"""\
from: scratch                # a static binary needs nothing else; else a base like docker.io/library/debian:stable-slim
# platforms: [linux/amd64, linux/arm64]     # with sources like "dist/{name}-${{os}}-${{arch}}${{variant}}"
layers:
  - name: {name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) else "program"}
    copy:
      - {{src: {program}, dest: /usr/bin/{name}, mode: "0755"}}
config:
  user: "65532:65532"
  entrypoint: [/usr/bin/{name}]
"""


def _compiled(build: str, output: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        name = _name(folder)
        return f"""\
# Compile first: {build.format(name=name)}
from: scratch
layers:
  - name: program
    copy:
      - {{src: {output.format(name=name)}, dest: /usr/bin/{name}, mode: "0755"}}
config:
  user: "65532:65532"
  entrypoint: [/usr/bin/{name}]
"""

    return write


def _python(folder: Path) -> str:
    sources = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and (path / "__init__.py").is_file()]
    where = "src" if (folder / "src").is_dir() else next((name for name in sources if name != "tests"), "")
    if where:
        copy = f"      - ./{where}:/srv/app/{'' if where == 'src' else f'{where}/'}\n"
    else:
        copy = '      - "*.py:/srv/app/"\n'
    module = _python_module(folder, where)
    return f"""\
from: docker.io/library/python:3-slim
users:
  app: {{uid: 10001, home: /srv/app}}
layers:
  # What the project needs, installed beside it:
  #   pip install --target vendor{" -r requirements.txt" if (folder / "requirements.txt").is_file() else " ."}
  # - name: vendor
  #   copy: [./vendor:/srv/vendor/]
  - name: app
    owner: app
    copy:
{copy}\
config:
  user: app
  workdir: /srv/app
  env: {{PYTHONUNBUFFERED: 1, PYTHONPATH: "/srv/app:/srv/vendor"}}
  entrypoint: [python3, {"-m, " + module if module else "main.py"}]
"""


def _python_module(folder: Path, where: str) -> str:
    if where == "src":
        packages = [path.name for path in sorted((folder / "src").iterdir()) if (path / "__init__.py").is_file()]
        return packages[0] if packages else ""
    return where


def _node(folder: Path) -> str:
    copies = [
        name for name in ("package.json", "server.js", "index.js", "src", "dist", "public") if (folder / name).exists()
    ]
    lines = "".join(f"      - ./{name}:/srv/app/{f'{name}/' if (folder / name).is_dir() else ''}\n" for name in copies)
    entry = next((name for name in ("server.js", "index.js") if (folder / name).is_file()), "src/index.js")
    return f"""\
from: docker.io/library/node:lts-slim
layers:
  # npm ci --omit=dev, then:
  # - name: modules
  #   copy: [./node_modules:/srv/app/node_modules/]
  - name: app
    copy:
{lines}\
config:
  user: "1000:1000"
  workdir: /srv/app
  env: {{NODE_ENV: production}}
  entrypoint: [node, {entry}]
"""


def _site(folder: Path) -> str:
    where = next(name for name in ("public", "www", "site", "dist", ".") if (folder / name / "index.html").is_file())
    return f"""\
from: docker.io/library/nginx:stable
layers:
  - name: site
    copy: [{"." if where == "." else f"./{where}"}:/usr/share/nginx/html/]
config:
  expose: [80]
"""


def _anything(folder: Path) -> str:  # noqa: ARG001 - all kinds take the same
    return """\
from: scratch                # or a base, like docker.io/library/debian:stable-slim
layers:
  - name: app
    # owner: "10001"
    copy:
      - .:/srv/app/          # what .dockerignore leaves of this folder
config:
  workdir: /srv/app
  # entrypoint: [/srv/app/run]
"""


_KINDS: Final = (
    _Kind("a Go program", _has("go.mod"), _compiled("CGO_ENABLED=0 go build -o dist/{name} .", "dist/{name}")),
    _Kind(
        "a Rust program",
        _has("Cargo.toml"),
        _compiled(
            "cargo build --release --target x86_64-unknown-linux-musl",
            "target/x86_64-unknown-linux-musl/release/{name}",
        ),
    ),
    _Kind("a Python project", _has("pyproject.toml", "requirements.txt", "setup.py", "uv.lock"), _python),
    _Kind("a Node.js project", _has("package.json"), _node),
    _Kind("a program", lambda folder: bool(_programs(folder)), _static),
    _Kind(
        "a web site",
        lambda folder: any((folder / name / "index.html").is_file() for name in ("public", "www", "site", "dist", ".")),
        _site,
    ),
    _Kind("a folder of files", lambda _: True, _anything),
)
