"""Byte code: made by an interpreter of the image's version, the same each time (PEP 552)."""

import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path
from types import CodeType

import pytest

from layerkit.packages.errors import PackageError
from layerkit.packages.python.bytecode import Module, cached_name, compile_modules, find_interpreter

HERE = sys.version_info[:2]
SOURCE = b'NAMES = {"a", "b", "c"}\n\n\ndef f(x):\n    return x in {"one", "two", "three"}\n'


def test_modules_have_the_hash_of_their_source_which_nobody_compares() -> None:
    (made,) = compile_modules([Module("/opt/venv/a.py", SOURCE)], sys.executable)
    assert made[:4] == importlib.util.MAGIC_NUMBER
    assert made[4:8] == b"\x01\0\0\0"
    assert made[8:16] == importlib.util.source_hash(SOURCE)
    code = marshal.loads(made[16:])
    assert isinstance(code, CodeType)
    assert code.co_filename == "/opt/venv/a.py"


def test_the_same_source_makes_the_same_bytes_in_any_company() -> None:
    one = Module("/a.py", SOURCE)
    others = [Module(f"/{n}.py", f"X{n} = {{'one', 'a', {n}}}\n".encode()) for n in range(50)]
    assert compile_modules([one], sys.executable)[0] == compile_modules([*others, one], sys.executable)[-1]


def test_what_is_no_module_has_none() -> None:
    made = compile_modules([Module("/a.py", b"print 'old'\n"), Module("/b.py", b"x = 1\n")], sys.executable)
    assert made[0] == b""
    assert made[1]
    assert compile_modules([], "/no/interpreter") == []


def test_an_interpreter_imports_what_is_made(tmp_path: Path) -> None:
    (made,) = compile_modules([Module("/elsewhere/a.py", b"print('ran')\n")], sys.executable)
    (tmp_path / "a.py").write_bytes(b"print('not this')\n")
    place = tmp_path / cached_name("a.py", HERE)
    place.parent.mkdir()
    place.write_bytes(made)
    done = subprocess.run([sys.executable, "-c", "import a"], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == b"ran\n"


def test_byte_code_stands_where_interpreters_look_for_it() -> None:
    for name in ("a.py", "a/b.py"):
        expected = importlib.util.cache_from_source(f"/x/{name}", optimization="")
        assert f"/x/{cached_name(name, HERE)}" == expected


def test_an_interpreter_of_another_version_is_looked_for(tmp_path: Path) -> None:
    assert find_interpreter(HERE, {}) == sys.executable
    with pytest.raises(PackageError, match=r"python3.99, which this machine does not have"):
        find_interpreter((3, 99), {"PATH": str(tmp_path)})
    program = tmp_path / "python3.99"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    assert find_interpreter((3, 99), {"PATH": str(tmp_path)}) == str(program)
    with pytest.raises(PackageError, match="cannot compile modules"):
        compile_modules([Module("/a.py", b"")], str(program))
    with pytest.raises(PackageError, match="cannot compile modules"):
        compile_modules([Module("/a.py", b"")], str(tmp_path / "none"))
