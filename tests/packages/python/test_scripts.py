"""Scripts (PyPA, "Entry points specification")."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.packages.errors import PackageError
from layerkit.packages.python.scripts import EntryPoint, make_launcher, parse_entry_points, set_interpreter, shebang

TEXT = """\
[console_scripts]
Hello = hello.cli:main
other=hello : Group.run [extra]

[gui_scripts]
window = hello.window:main

[pytest11]
plugin = hello.plugin
"""


def test_programs_are_those_of_the_two_groups() -> None:
    assert parse_entry_points(TEXT) == (
        EntryPoint("Hello", "hello.cli", "main"),
        EntryPoint("other", "hello", "Group.run"),
        EntryPoint("window", "hello.window", "main"),
    )
    assert parse_entry_points("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[console_scripts]\na = b\n", "not like `module:function`"),
        ("[console_scripts]\na = b:c(); import os\n", "not like `module:function`"),
        ("[console_scripts]\na = b;c:d\n", "not like `module:function`"),
        ("[console_scripts]\na = .b:c\n", "not like `module:function`"),
        ("[console_scripts]\n../a = b:c\n", "a name that no file can have"),
        ("[console_scripts]\n.. = b:c\n", "a name that no file can have"),
        ("[console_scripts]\na = b:c\na = b:d\n", "entry_points.txt cannot be read"),
        ("a = b:c\n", "entry_points.txt cannot be read"),
    ],
)
def test_what_is_no_program_is_refused(text: str, message: str) -> None:
    """What stands there becomes code of a program."""
    with pytest.raises(PackageError, match=message):
        parse_entry_points(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        points = parse_entry_points(f"[console_scripts]\n{text}")
    except PackageError:
        return
    for point in points:
        compile(make_launcher(point, "/bin/python"), point.name, "exec")


def test_a_program_calls_its_function_and_exits_with_what_it_answers(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("import sys\nclass Group:\n    def run():\n        return len(sys.argv)\n")
    program = tmp_path / "program"
    program.write_bytes(make_launcher(EntryPoint("program", "hello", "Group.run"), sys.executable))
    program.chmod(0o755)
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run([program, "a", "b"], env=environment, check=False).returncode == 3


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (b"#!python\nprint()\n", b"#!/opt/venv/bin/python\nprint()\n"),
        (b"#!pythonw\nprint()\n", b"#!/opt/venv/bin/python\nprint()\n"),
        (b"#!python -E\r\nprint()\n", b"#!/opt/venv/bin/python -E\nprint()\n"),
        (b"#!python", b"#!/opt/venv/bin/python\n"),
        (b"#!python3\nprint()\n", b"#!python3\nprint()\n"),
        (b"#!/bin/sh\n", b"#!/bin/sh\n"),
        (b"\x7fELF", b"\x7fELF"),
        (b"", b""),
    ],
)
def test_the_placeholder_becomes_the_interpreter(script: bytes, expected: bytes) -> None:
    assert set_interpreter(script, "/opt/venv/bin/python") == expected


def test_an_interpreter_that_the_kernel_would_not_find_is_refused() -> None:
    """Linux reads 127 bytes of the first line in every kernel since 2.6.28 (256 since 5.1)."""
    longest = "/" + "a" * 124
    assert len(shebang(longest).rstrip(b"\n")) == 127
    with pytest.raises(PackageError, match="choose a shorter `into`"):
        shebang(f"{longest}a")
    with pytest.raises(PackageError, match="ends the name at the space"):
        shebang("/opt/my venv/bin/python")
