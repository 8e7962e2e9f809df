"""Installing: what `python -m venv` and an installer would have made, without either."""

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerkit.layer.entry import Entry, EntryType
from layerkit.packages.errors import PackageError
from layerkit.packages.python.bytecode import Module
from layerkit.packages.python.record import Hash
from layerkit.packages.python.venv import Installed, Venv, install
from layerkit.packages.python.wheel import open_wheel
from tests.wheels import BOOKWORM, PROGRAM, make_wheel

VENV = Venv(into="/opt/venv", interpreter="/usr/bin/python3", target=BOOKWORM)
SITE = "opt/venv/lib/python3.11/site-packages"
INFO = "hello-1.0.dist-info"


def by_path(installed: Installed) -> dict[str, Entry]:
    found = {placed.entry.path: placed.entry for placed in installed.placed}
    assert len(found) == len(installed.placed)
    return found


def content(entry: Entry) -> bytes:
    assert entry.source is not None
    return b"".join(entry.source.pieces(2**20))


def rows(entries: dict[str, Entry], info: str = INFO) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content(entries[f"{SITE}/{info}/RECORD"]).decode())))


def test_files_go_where_their_scheme_says(tmp_path: Path) -> None:
    files = {
        "hello/native.so": b"\x7fELF",
        "hello-1.0.data/purelib/pure.py": b"",
        "hello-1.0.data/platlib/plat.py": b"",
        "hello-1.0.data/scripts/run": PROGRAM,
        "hello-1.0.data/scripts/tool": b"#!/bin/sh\n",
        "hello-1.0.data/data/share/man/man1/hello.1": b".TH",
        "hello-1.0.data/data/lib64/libhello.so": b"",
        "hello-1.0.data/headers/hello.h": b"int a;",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nhello = hello:main\n",
        f"{INFO}/INSTALLER": b"evil\n",
        f"{INFO}/REQUESTED": b"",
    }
    entries = by_path(install([open_wheel(make_wheel(tmp_path, files=files))], VENV))
    modes = {path: entry.mode for path, entry in entries.items() if entry.type is EntryType.FILE}
    assert modes == {
        "opt/venv/pyvenv.cfg": 0o644,
        "opt/venv/bin/hello": 0o755,
        "opt/venv/bin/run": 0o755,
        "opt/venv/bin/tool": 0o755,
        "opt/venv/include/site/python3.11/hello/hello.h": 0o644,
        "opt/venv/share/man/man1/hello.1": 0o644,
        "opt/venv/lib/libhello.so": 0o644,
        f"{SITE}/hello/__init__.py": 0o644,
        f"{SITE}/hello/native.so": 0o644,
        f"{SITE}/pure.py": 0o644,
        f"{SITE}/plat.py": 0o644,
        f"{SITE}/{INFO}/INSTALLER": 0o644,
        f"{SITE}/{INFO}/METADATA": 0o644,
        f"{SITE}/{INFO}/RECORD": 0o644,
        f"{SITE}/{INFO}/WHEEL": 0o644,
        f"{SITE}/{INFO}/entry_points.txt": 0o644,
    }
    assert {path: entry.link for path, entry in entries.items() if entry.type is EntryType.SYMLINK} == {
        "opt/venv/bin/python": "/usr/bin/python3",
        "opt/venv/bin/python3": "python",
        "opt/venv/bin/python3.11": "python",
        "opt/venv/lib64": "lib",
    }
    assert content(entries["opt/venv/pyvenv.cfg"]) == (
        b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n"
    )
    assert content(entries["opt/venv/bin/hello"]).startswith(b"#!/opt/venv/bin/python\nimport sys\n")
    assert content(entries["opt/venv/bin/run"]) == PROGRAM.replace(b"#!python", b"#!/opt/venv/bin/python")
    assert content(entries["opt/venv/bin/tool"]) == b"#!/bin/sh\n"
    assert content(entries[f"{SITE}/{INFO}/INSTALLER"]) == b"layerkit\n"


def test_record_has_all_that_the_wheel_became(tmp_path: Path) -> None:
    files = {
        "hello-1.0.data/scripts/run": PROGRAM,
        f"{INFO}/entry_points.txt": b"[console_scripts]\nhello = hello:main\n",
    }
    entries = by_path(install([open_wheel(make_wheel(tmp_path, files=files))], VENV))
    found = rows(entries)
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    assert [f"{INFO}/RECORD", "", ""] in found
    recorded = {}
    for path, said, size in found:
        place = f"{SITE}/{path}" if not path.startswith("../../../") else f"opt/venv/{path[9:]}"
        if said:
            raw = content(entries[place])
            value = Hash.of(hashlib.sha256(raw).digest()).value
            assert (said, size) == (f"sha256={value}", str(len(raw)))
        recorded[place] = said
    shared = {"opt/venv/pyvenv.cfg"}
    files_there = {path for path, entry in entries.items() if entry.type is EntryType.FILE}
    assert recorded.keys() == files_there - shared


def test_the_same_wheels_make_the_same_environment(tmp_path: Path) -> None:
    wheels = [open_wheel(make_wheel(tmp_path, name=name)) for name in ("b", "a", "c")]
    one, other = (install(order, VENV) for order in (wheels, wheels[::-1]))
    assert one == other


def test_owners_are_those_that_are_asked_for(tmp_path: Path) -> None:
    venv = Venv(into="/opt/venv", interpreter="/usr/bin/python3", target=BOOKWORM, uid=10, gid=20)
    entries = by_path(install([open_wheel(make_wheel(tmp_path))], venv))
    assert {(entry.uid, entry.gid) for entry in entries.values()} == {(10, 20)}


def test_an_environment_without_wheels_is_one() -> None:
    entries = by_path(install([], VENV))
    assert entries[SITE].type is EntryType.DIRECTORY


def test_a_file_of_two_wheels_is_told_unless_it_is_the_same(tmp_path: Path) -> None:
    wheels = [
        open_wheel(
            make_wheel(tmp_path, name=name, files={"shared.py": text, "tests/__init__.py": b"", "tests/a.py": text})
        )
        for name, text in (("a", b"1"), ("b", b"2"))
    ]
    installed = install(wheels[::-1], VENV)
    assert installed.warnings == (
        "/opt/venv/lib/python3.11/site-packages/shared.py and 1 more are in both a-1.0-py3-none-any.whl and "
        "b-1.0-py3-none-any.whl: the latter has its way",
    )
    entries = by_path(installed)
    assert content(entries[f"{SITE}/shared.py"]) == b"2"
    hashes = [{row[0]: row[1] for row in rows(entries, f"{name}-1.0.dist-info")}["shared.py"] for name in ("a", "b")]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"hello-1.0.data/scripts/python": PROGRAM}, "would replace /opt/venv/bin/python"),
        ({"hello-1.0.data/data/pyvenv.cfg": b""}, "would replace /opt/venv/pyvenv.cfg"),
        ({"hello-1.0.data/data/lib64": b""}, "would replace /opt/venv/lib64"),
        ({"hello-1.0.data/data/bin": b""}, "/opt/venv/bin is a file of"),
        ({"hello-1.0.data/purelib/hello/__init__.py": b"other"}, "has two files for"),
        ({f"{INFO}/entry_points.txt": b"[console_scripts]\nhello = import\n"}, "program 'hello' is 'import'"),
    ],
)
def test_what_would_break_the_environment_is_refused(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    wheel = open_wheel(make_wheel(tmp_path, files=files))
    with pytest.raises(PackageError, match=message) as caught:
        install([wheel], VENV)
    assert wheel.file in str(caught.value)


def test_a_wheel_for_another_machine_is_refused_by_name(tmp_path: Path) -> None:
    wheel = open_wheel(make_wheel(tmp_path, tag="cp311-cp311-win_amd64"))
    with pytest.raises(
        PackageError,
        match=r"hello-1.0-cp311-cp311-win_amd64.whl is for cp311-cp311-win_amd64, and not for Python 3.11.2",
    ):
        install([wheel], VENV)


def test_one_distribution_is_not_installed_twice(tmp_path: Path) -> None:
    wheels = [open_wheel(make_wheel(tmp_path, version=version)) for version in ("1.0", "2.0")]
    with pytest.raises(PackageError, match="hello is there twice"):
        install(wheels, VENV)


def test_an_environment_does_not_take_the_place_of_its_interpreter() -> None:
    venv = Venv(into="/usr/local", interpreter="/usr/local/bin/python3", target=BOOKWORM)
    with pytest.raises(PackageError, match="choose an `into` of its own, like /opt/venv"):
        install([], venv)


def test_a_name_too_long_for_the_kernel_is_refused(tmp_path: Path) -> None:
    files = {"hello-1.0.data/scripts/run": PROGRAM}
    venv = Venv(into="/" + "a" * 120, interpreter="/usr/bin/python3", target=BOOKWORM)
    with pytest.raises(PackageError, match=r"hello-1.0-py3-none-any.whl: .*choose a shorter `into`"):
        install([open_wheel(make_wheel(tmp_path, files=files))], venv)


def test_byte_code_stands_beside_the_modules_and_is_recorded(tmp_path: Path) -> None:
    wheel = open_wheel(make_wheel(tmp_path, files={"hello/odd.py": b"print 1\n", "hello-1.0.data/scripts/a.py": b""}))

    def compile_modules(modules: Sequence[Module]) -> list[bytes]:
        return [b"" if b"print 1" in module.source else b"code of " + module.path.encode() for module in modules]

    entries = by_path(install([wheel], VENV, compile_modules=compile_modules))
    place = f"{SITE}/hello/__pycache__/__init__.cpython-311.pyc"
    assert content(entries[place]) == b"code of /" + f"{SITE}/hello/__init__.py".encode()
    assert [path for path in entries if path.endswith(".pyc")] == [place]
    assert "hello/__pycache__/__init__.cpython-311.pyc" in {row[0] for row in rows(entries)}


_PARTS = st.sampled_from(
    (
        *("..", ".", "", "a", "b", "hello", "hello-1.0.data", "data", "scripts", "purelib", "headers", "bin", "lib64"),
        *("lib", "python", "pyvenv.cfg", "etc", ".wh.a", "a\\b", "\N{LATIN SMALL LETTER E WITH ACUTE}", " ", "x" * 300),
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    names=st.lists(st.lists(_PARTS, min_size=1, max_size=5).map("/".join), max_size=4, unique=True),
    programs=st.lists(st.text(st.characters(codec="ascii"), min_size=1, max_size=8), max_size=2, unique=True),
)
def test_whatever_names_a_wheel_has_it_stays_within_the_environment(
    names: list[str], programs: list[str], tmp_path: Path
) -> None:
    files = {name: PROGRAM for name in names if name}
    points = "".join(f"{name} = hello:main\n" for name in programs)
    files[f"{INFO}/entry_points.txt"] = f"[console_scripts]\n{points}".encode()
    try:
        installed = install([open_wheel(make_wheel(tmp_path, files=files))], VENV)
    except PackageError:
        return
    entries = by_path(installed)
    assert all(path == "opt/venv" or path.startswith("opt/venv/") for path in entries)
    assert not any(part in {"", ".", ".."} for path in entries for part in path.split("/"))
    assert entries["opt/venv/bin/python"].link == "/usr/bin/python3"
