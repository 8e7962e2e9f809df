"""Layers of wheels: chosen for the interpreter of the image, brought by their digests, installed without it."""

import hashlib
import io
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from layerkit.build.builder import Builder
from layerkit.build.built import BuiltImage
from layerkit.build.pins import NotLocked
from layerkit.build.python_tools import PythonTools
from layerkit.cli.environment import open_url
from layerkit.content.store import Store
from layerkit.document.problem import DocumentError
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry, LayerIndex, index_layer, read_file
from layerkit.packages.lock import Lock, format_lock, parse_lock
from layerkit.packages.python.indexes import Indexes
from layerkit.packages.relock import outdate
from layerkit.spec.model import ImageSpec
from tests.build.conftest import Load
from tests.wheels import PROGRAM, make_library, make_wheel, record_of, zip_of

Build = Callable[..., Awaitable[BuiltImage]]

SITE = "opt/venv/lib/python3.11/site-packages"
REQUIREMENTS = "from: scratch\nlayers:\n  - python: {requirements: requirements.txt, version: 3.11.2}\n"
LOCKED = "from: scratch\nlayers:\n  - python: {lock: pylock.toml, version: 3.11.2}\n"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """`app` needs `lib`, of which there are two versions, and has a program."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(
        folder,
        "app",
        files={
            "app-1.0.data/scripts/run": PROGRAM,
            "app-1.0.dist-info/entry_points.txt": b"[console_scripts]\napp = app:main\n",
            "app-1.0.dist-info/METADATA": (
                b"Metadata-Version: 2.1\nName: app\nVersion: 1.0\nRequires-Dist: lib\n"
                b"Requires-Dist: gone; sys_platform == 'win32'\n"
            ),
        },
    )
    make_wheel(folder, "lib", "1.0", {"lib/native.so": b"1"}, tag="cp311-cp311-manylinux_2_17_x86_64")
    make_wheel(folder, "lib", "1.0", {"lib/native.so": b"arm"}, tag="cp311-cp311-manylinux_2_17_aarch64")
    return folder


@pytest.fixture
def builder(builder: Builder, wheels: Path, tmp_path: Path) -> Builder:
    """One on a machine whose pip knows of a folder of wheels and of nothing else."""
    indexes = Indexes(environment={"UV_FIND_LINKS": str(wheels)}, options=("--no-index",), logins={})
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "uv")}
    tools = PythonTools(
        indexes=lambda _: indexes,
        environment=environment,
        open_url=lambda url, offset, version, _: open_url(url, offset, version),
    )
    return replace(builder, python=tools)


@pytest.fixture
def requirements(context: Path) -> Path:
    path = context / "requirements.txt"
    path.write_text("app\n")
    return path


def index_of(image: BuiltImage, store: Store) -> LayerIndex:
    layer = image.image.layers[-1]
    return index_layer(io.BytesIO(store.path_of(layer.digest).read_bytes()), layer.media_type)


def entries_of(image: BuiltImage, store: Store) -> dict[str, IndexedEntry]:
    return {entry.path: entry for entry in index_of(image, store).entries}


def read(image: BuiltImage, store: Store, path: str) -> bytes:
    layer = image.image.layers[-1]
    raw = io.BytesIO(store.path_of(layer.digest).read_bytes())
    return read_file(raw, layer.media_type, entries_of(image, store)[path])


def spec_of(load: Load, text: str, platform: str = "linux/amd64") -> ImageSpec:
    spec = load(text, platform=platform)
    return ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))


def pylock(wheels: Path, files: Mapping[str, str]) -> str:
    """A lock of these distributions, by the files of their wheels."""
    packages = [
        f'[[packages]]\nname = "{name}"\nversion = "1.0"\nwheels = [{{ url = "{(wheels / file).as_uri()}", '
        f"size = {(wheels / file).stat().st_size}, "
        f'hashes = {{ sha256 = "{hashlib.sha256((wheels / file).read_bytes()).hexdigest()}" }} }}]\n'
        for name, file in files.items()
    ]
    return 'lock-version = "1.0"\ncreated-by = "a test"\n' + "".join(packages)


@pytest.mark.usefixtures("requirements")
async def test_requirements_come_with_what_they_need(build: Build, store: Store) -> None:
    image = await build(REQUIREMENTS)
    entries = entries_of(image, store)
    assert {"opt", "opt/venv/pyvenv.cfg", f"{SITE}/app/__init__.py", f"{SITE}/lib/native.so"} <= entries.keys()
    assert read(image, store, "opt/venv/bin/run").startswith(b"#!/opt/venv/bin/python\n")
    assert entries["opt/venv/bin/app"].mode == 0o755
    assert entries["opt/venv/bin/python"].link == "/usr/bin/python3"
    assert image.image.config.history[-1].created_by == "layerkit: layer-1: python requirements.txt:/opt/venv"


@pytest.mark.usefixtures("requirements")
async def test_a_plan_says_which_wheel_a_path_is_from(build: Build) -> None:
    (layer,) = (await build(REQUIREMENTS)).plan.layers
    assert layer.provenance[f"{SITE}/app/__init__.py"].source == "python: app 1.0"
    assert layer.provenance["opt/venv/bin/app"].source == "python: app 1.0"
    assert layer.provenance["opt/venv/bin/app"].position.line == 3


@pytest.mark.usefixtures("requirements")
async def test_other_platforms_have_wheels_of_their_own(build: Build, store: Store) -> None:
    image = await build(REQUIREMENTS, platform="linux/arm64")
    assert read(image, store, f"{SITE}/lib/native.so") == b"arm"


@pytest.mark.usefixtures("requirements")
async def test_a_second_build_is_the_same_and_reads_no_wheel(builder: Builder, load: Load, wheels: Path) -> None:
    (first,) = await builder.build([spec_of(load, REQUIREMENTS)])
    (second,) = await builder.build([spec_of(load, REQUIREMENTS)])
    (fresh,) = await replace(builder, is_cached=False, backwards=True).build([spec_of(load, REQUIREMENTS)])
    assert first.manifest.descriptor.digest == second.manifest.descriptor.digest == fresh.manifest.descriptor.digest


@pytest.mark.usefixtures("requirements")
async def test_the_owner_is_that_of_the_layer_and_copies_come_after(build: Build, store: Store, context: Path) -> None:
    (context / "own.py").write_text("own")
    image = await build(
        "from: scratch\nlayers:\n  - python: {requirements: requirements.txt, version: 3.11, into: /srv/env}\n"
        '    owner: "10:20"\n    mode: "0444"\n'
        "    copy: [{src: own.py, dest: /srv/env/lib/python3.11/site-packages/app/__init__.py}]\n"
    )
    entries = entries_of(image, store)
    program = entries["srv/env/bin/app"]
    assert (program.uid, program.gid, program.mode) == (10, 20, 0o755)
    assert (entries["srv"].uid, entries["srv/env"].uid) == (0, 10)
    assert read(image, store, "srv/env/lib/python3.11/site-packages/app/__init__.py") == b"own"
    assert [warning.partition(": ")[2] for warning in image.plan.warnings] == [
        "the image has no /usr/bin/python3: no program of /srv/env can begin",
        "nothing in the image says which C library it has: wheels for glibc 2.28 and older are taken",
    ]


async def test_a_lock_of_pythons_tools_is_taken_as_it_is(
    build: Build, store: Store, context: Path, wheels: Path
) -> None:
    (context / "pylock.toml").write_text(pylock(wheels, {"app": "app-1.0-py3-none-any.whl"}))
    entries = entries_of(await build(LOCKED), store)
    assert f"{SITE}/app/__init__.py" in entries
    assert f"{SITE}/lib/__init__.py" not in entries


async def test_a_wheel_that_is_not_what_the_lock_says_is_refused_by_name(
    build: Build, context: Path, wheels: Path
) -> None:
    (context / "pylock.toml").write_text(pylock(wheels, {"app": "app-1.0-py3-none-any.whl"}))
    path = wheels / "app-1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DocumentError, match=r"3:\d+: app-1.0-py3-none-any.whl is not what its index or the lock says"):
        await build(LOCKED)


async def test_a_wheel_that_contradicts_its_record_is_refused_by_name(
    build: Build, context: Path, wheels: Path
) -> None:
    files = {
        "evil/__init__.py": b"good",
        "evil-1.0.dist-info/METADATA": b"Name: evil\nVersion: 1.0\n",
        "evil-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
    }
    record = record_of(files, "evil-1.0.dist-info")
    raw = zip_of({**files, "evil/__init__.py": b"evil", "evil-1.0.dist-info/RECORD": record})
    (wheels / "evil-1.0-py3-none-any.whl").write_bytes(raw)
    (context / "pylock.toml").write_text(pylock(wheels, {"evil": "evil-1.0-py3-none-any.whl"}))
    with pytest.raises(LayerError, match=r"evil-1.0-py3-none-any.whl: evil/__init__.py is not what it is said to be"):
        await build(LOCKED)


async def test_hashes_that_requirements_demand_hold(build: Build, requirements: Path, wheels: Path) -> None:
    app = hashlib.sha256((wheels / "app-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    lib = hashlib.sha256((wheels / "lib-1.0-cp311-cp311-manylinux_2_17_x86_64.whl").read_bytes()).hexdigest()
    requirements.write_text(f"app==1.0 --hash=sha256:{app}\nlib==1.0 --hash=sha256:{lib} --hash=sha256:{'0' * 64}\n")
    await build(REQUIREMENTS)
    requirements.write_text(f"app==1.0 --hash=sha256:{app}\nlib==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(DocumentError, match=r"lib-1.0-cp311.*is not what requirements.txt demands"):
        await build(REQUIREMENTS)


@pytest.mark.usefixtures("requirements")
async def test_an_image_without_an_interpreter_is_told(build: Build) -> None:
    with pytest.raises(DocumentError, match=r"3:\d+: the image has no /usr/bin/python3"):
        await build("from: scratch\nlayers:\n  - python: requirements.txt\n")


async def test_files_that_are_not_there_are_told(build: Build) -> None:
    with pytest.raises(DocumentError, match=r"requirements.txt cannot be read: No such file"):
        await build(REQUIREMENTS)
    with pytest.raises(DocumentError, match=r"pylock.toml cannot be read: No such file"):
        await build(LOCKED)


@pytest.mark.usefixtures("requirements")
async def test_a_lock_of_ours_says_what_was_chosen_and_why(builder: Builder, load: Load) -> None:
    lock = await builder.resolve([spec_of(load, REQUIREMENTS)])
    (found,) = lock.python.values()
    assert [(wheel.name, wheel.version, wheel.reason) for wheel in found.packages] == [
        ("app", "1.0", "requirements.txt"),
        ("lib", "1.0", "app"),
    ]
    assert parse_lock(format_lock(lock), "layerkit.lock") == lock


@pytest.mark.usefixtures("requirements")
async def test_what_is_locked_stays_though_indexes_have_more(builder: Builder, load: Load, wheels: Path) -> None:
    lock = await builder.resolve([spec_of(load, REQUIREMENTS)])
    (before,) = await replace(builder, lock=lock, is_locked=True).build([spec_of(load, REQUIREMENTS)])
    make_wheel(wheels, "app", "2.0")
    (after,) = await replace(builder, lock=lock, is_locked=True).build([spec_of(load, REQUIREMENTS)])
    assert before.manifest.descriptor.digest == after.manifest.descriptor.digest
    (anew,) = await builder.build([spec_of(load, REQUIREMENTS)])
    assert anew.manifest.descriptor.digest != after.manifest.descriptor.digest


async def test_locking_again_keeps_versions_but_those_that_are_to_be_upgraded(
    builder: Builder, load: Load, wheels: Path, requirements: Path
) -> None:
    lock = await builder.resolve([spec_of(load, REQUIREMENTS)])
    for name in ("app", "lib"):
        make_wheel(wheels, name, "2.0")
    requirements.write_text("app\nlib\n")

    async def versions(known: Lock) -> dict[str, str]:
        (found,) = (await replace(builder, lock=known).resolve([spec_of(load, REQUIREMENTS)])).python.values()
        return {wheel.name: wheel.version for wheel in found.packages}

    assert await versions(lock) == {"app": "1.0", "lib": "1.0"}
    assert await versions(outdate(lock, ["lib"])) == {"app": "1.0", "lib": "2.0"}
    assert await versions(Lock()) == {"app": "2.0", "lib": "2.0"}


@pytest.mark.usefixtures("requirements")
async def test_what_is_locked_and_in_the_cache_needs_no_index(builder: Builder, load: Load, wheels: Path) -> None:
    lock = await builder.resolve([spec_of(load, REQUIREMENTS)])
    for path in wheels.iterdir():
        path.unlink()
    await replace(builder, lock=lock, is_locked=True).build([spec_of(load, REQUIREMENTS)])


@pytest.mark.usefixtures("requirements")
async def test_what_is_locked_is_found_where_indexes_have_it_today(
    builder: Builder, load: Load, wheels: Path, tmp_path: Path
) -> None:
    lock = await builder.resolve([spec_of(load, REQUIREMENTS)])
    elsewhere = replace(builder, lock=lock, is_locked=True, cache=tmp_path / "other")
    await elsewhere.build([spec_of(load, REQUIREMENTS)])
    # The same version with another content is not the one that was locked.
    make_wheel(wheels, "app", files={"app/other.py": b""})
    third = replace(builder, lock=lock, is_locked=True, cache=tmp_path / "third")
    with pytest.raises(DocumentError, match=r"app-1.0-py3-none-any.whl is not"):
        await third.build([spec_of(load, REQUIREMENTS)])


async def test_a_changed_request_is_not_answered_by_an_old_lock(
    builder: Builder, load: Load, requirements: Path
) -> None:
    lock = await builder.resolve([spec_of(load, REQUIREMENTS)])
    requirements.write_text("lib\n")
    with pytest.raises(NotLocked, match="asks for other packages than the lock has"):
        await replace(builder, lock=lock, is_locked=True).build([spec_of(load, REQUIREMENTS)])
    with pytest.raises(NotLocked, match="is not in the lock"):
        await replace(builder, lock=Lock(), is_locked=True).build([spec_of(load, REQUIREMENTS)])


async def test_a_library_that_is_nowhere_in_the_image_is_told_and_refused_where_it_is_asked_for(
    builder: Builder, load: Load, wheels: Path, context: Path
) -> None:
    make_wheel(wheels, "needy", files={"needy/native.so": make_library("libc.so.6", "libgone.so.1")})
    (context / "pylock.toml").write_text(pylock(wheels, {"needy": "needy-1.0-py3-none-any.whl"}))
    for name in ("usr/bin/python3.11", "lib/libc.so.6"):
        path = context / "root" / name
        path.parent.mkdir(parents=True)
        path.write_text("#!")
    text = (
        "from: scratch\nlayers:\n  - copy: [root:/]\n    symlink: {/usr/bin/python3: python3.11}\n"
        "  - python: {lock: pylock.toml, version: 3.11}\n"
    )
    for _ in range(2):
        (result,) = await builder.build([spec_of(load, text)])
        told = [warning.partition(": ")[2] for warning in result.warnings]
        assert told[0] == (
            "libgone.so.1 is not in the image, and needy 1.0 needs it: "
            "install what has it (of Debian most likely libgone1)"
        )
    with pytest.raises(DocumentError, match=r"5:13: libgone.so.1 is not in the image"):
        await replace(builder, is_strict=True).build([spec_of(load, text)])


BACKEND = """
import base64, hashlib, pathlib, zipfile


def build_wheel(folder, settings=None, metadata=None):
    files = {path: pathlib.Path(path).read_bytes() for path in ("own.py",)}
    tag = pathlib.Path("tag").read_text() if pathlib.Path("tag").exists() else "py3-none-any"
    files["own-1.dist-info/METADATA"] = b"Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n"
    files["own-1.dist-info/WHEEL"] = f"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n".encode()
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b'=').decode()},{len(raw)}"
        for path, raw in files.items()
    ]
    files["own-1.dist-info/RECORD"] = "\\n".join([*rows, "own-1.dist-info/RECORD,,"]).encode()
    name = f"own-1-{tag}.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as archive:
        for path, raw in files.items():
            archive.writestr(path, raw)
    return name
"""
PROJECT = "from: scratch\nlayers:\n  - python: {project: true, version: 3.11.2}\n"


@pytest.fixture
def project(context: Path) -> Path:
    """A project with a build backend of its own, which depends upon `lib`."""
    (context / "backend.py").write_text(BACKEND)
    (context / "own.py").write_text("mine = 1\n")
    (context / "pyproject.toml").write_text(
        '[project]\nname = "own"\nversion = "1"\ndependencies = ["lib"]\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    return context


async def test_the_project_is_built_and_installed_with_what_it_depends_upon(
    build: Build, store: Store, project: Path
) -> None:
    image = await build(PROJECT)
    entries = entries_of(image, store)
    assert {f"{SITE}/own.py", f"{SITE}/own-1.dist-info/RECORD", f"{SITE}/lib/native.so"} <= entries.keys()
    (project / "own.py").write_text("mine = 2\n")
    assert read(await build(PROJECT), store, f"{SITE}/own.py") == b"mine = 2\n"


async def test_a_project_of_native_code_is_refused(build: Build, project: Path) -> None:
    (project / "tag").write_text("cp311-cp311-linux_x86_64")
    with pytest.raises(DocumentError, match=r"own-1-cp311-cp311-linux_x86_64.whl has native code of this machine"):
        await build(PROJECT)


async def test_a_project_that_cannot_be_built_is_told(build: Build, project: Path) -> None:
    (project / "own.py").unlink()
    with pytest.raises(DocumentError, match=r"3:13: context cannot be built: .*own\.py"):
        await build(PROJECT)


@pytest.mark.usefixtures("project")
async def test_requirements_that_name_the_project_say_so(build: Build, requirements: Path) -> None:
    requirements.write_text("-e .\n")
    with pytest.raises(DocumentError, match="say `project: true`"):
        await build(REQUIREMENTS)


async def test_byte_code_is_made_where_it_is_asked_for_and_is_the_same_each_time(
    builder: Builder, load: Load, store: Store, context: Path, wheels: Path
) -> None:
    (context / "pylock.toml").write_text(pylock(wheels, {"app": "app-1.0-py3-none-any.whl"}))
    here = "{}.{}".format(*sys.version_info)
    text = f"from: scratch\nlayers:\n  - python: {{lock: pylock.toml, version: {here}, compile: unchecked-hash}}\n"
    (first,) = await builder.build([spec_of(load, text)])
    (second,) = await replace(builder, is_cached=False).build([spec_of(load, text)])
    assert first.manifest.descriptor.digest == second.manifest.descriptor.digest
    folder = f"opt/venv/lib/python{here}/site-packages/app/__pycache__"
    assert f"{folder}/__init__.cpython-{here.replace('.', '')}.pyc" in entries_of(first.images[0], store)


async def test_a_lock_of_ours_that_calls_a_wheel_by_another_name_is_refused(
    builder: Builder, load: Load, requirements: Path
) -> None:
    lock = await builder.resolve([spec_of(load, REQUIREMENTS)])
    text = format_lock(lock)
    for change, is_right in (
        (('version = "1.0", file = "app', 'version = "1.0.0", file = "app'), True),
        (('name = "app"', 'name = "evil"'), False),
    ):
        other = parse_lock(text.replace(*change), "layerkit.lock")
        build = replace(builder, lock=other, is_locked=True).build([spec_of(load, REQUIREMENTS)])
        if is_right:
            await build
        else:
            with pytest.raises(DocumentError, match=r"app-1.0-py3-none-any.whl is locked as evil 1.0: lock it again"):
                await build
