"""A wheel, and such as two readers would not read alike (PyPA, "Binary distribution format")."""

import hashlib
import io
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerkit.layer.errors import LayerError
from layerkit.layer.limits import Limits
from layerkit.packages.errors import PackageError
from layerkit.packages.python.scripts import EntryPoint
from layerkit.packages.python.wheel import Wheel, open_wheel
from tests.wheels import PROGRAM, files_of, make_wheel, record_of, zip_of

INFO = "hello-1.0.dist-info"
NAME = "hello-1.0-py3-none-any.whl"


def whole(files: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """The files of a wheel with its RECORD; `files` take the places of the usual ones."""
    found = {**files_of(), **(files or {})}
    return {**found, f"{INFO}/RECORD": record_of(found, INFO)}


def write(folder: Path, raw: bytes, name: str = NAME) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def contents(wheel: Wheel) -> dict[tuple[str, str], bytes]:
    return {(member.scheme, member.path): wheel.read_member(member) for member in wheel.members}


def test_a_wheel_says_what_it_is_and_gives_its_files(tmp_path: Path) -> None:
    files = {
        "hello/native.so": b"\x7fELF",
        "hello-1.0.data/scripts/run": PROGRAM,
        "hello-1.0.data/data/share/doc/hello": b"read me",
        "hello-1.0.data/headers/hello.h": b"int a;",
        "hello-1.0.data/platlib/other.py": b"",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nhello = hello:main\n",
    }
    wheel = open_wheel(make_wheel(tmp_path, files=files, executable=frozenset({"hello/native.so"})))
    assert (wheel.name, str(wheel.version), wheel.is_pure) == ("hello", "1.0", True)
    assert {str(tag) for tag in wheel.tags} == {"py3-none-any"}
    assert wheel.programs == (EntryPoint("hello", "hello", "main"),)
    found = contents(wheel)
    assert found["scripts", "run"] == PROGRAM
    assert found["data", "share/doc/hello"] == b"read me"
    assert found["headers", "hello.h"] == b"int a;"
    assert found["platlib", "other.py"] == b""
    assert found["purelib", "hello/native.so"] == b"\x7fELF"
    assert ("purelib", f"{INFO}/RECORD") not in found
    assert [member.path for member in wheel.members if member.is_executable] == ["hello/native.so"]
    assert wheel.read("METADATA").startswith(b"Metadata-Version")
    assert wheel.read("licenses/none") == b""


def test_a_wheel_without_compression_is_read(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in whole({"hello/big": bytes(3 * 2**20)}).items():
            archive.writestr(name, content)
    wheel = open_wheel(write(tmp_path, out.getvalue()))
    assert contents(wheel)["purelib", "hello/big"] == bytes(3 * 2**20)


def test_a_wheel_written_to_a_pipe_is_read(tmp_path: Path) -> None:
    """Its sizes stand behind the files, not before them (APPNOTE, 4.4.4, bit 3)."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, content: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
            self.parts.append(bytes(content))
            return len(content)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole().items():
            archive.writestr(name, content)
    wheel = open_wheel(write(tmp_path, b"".join(pipe.parts)))
    assert contents(wheel)["purelib", "hello/__init__.py"].startswith(b"def main")


def test_a_large_file_is_given_in_pieces(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2**14
    wheel = open_wheel(make_wheel(tmp_path, files={"hello/big": content}))
    source = next(member.source for member in wheel.members if member.path == "hello/big")
    pieces = list(source.pieces(2**16))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 2**16


def refused(folder: Path, raw: bytes, name: str = NAME) -> str:
    with pytest.raises(PackageError) as caught:
        open_wheel(write(folder, raw, name))
    message = str(caught.value)
    assert message.startswith(name)
    return message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.py", "leads out of its root"),
        ("/etc/passwd", "not plain"),
        ("hello/../../evil.py", "leads out of its root"),
        ("./evil.py", "not plain"),
        ("hello//evil.py", "not plain"),
        ("hello\\evil.py", "leads somewhere on Windows"),
        (".wh.evil", "mean a deletion"),
        ("hello-1.0.data/scripts/../../evil", "leads out of its root"),
        ("hello-1.0.data/elsewhere/evil", "is to go to 'elsewhere'"),
        ("hello-1.0.data/evil", "stands where no file can be"),
        ("other-1.0.dist-info/METADATA", "2 folders .dist-info"),
        ("hello/__init__.py/evil", "is a file, and the folder of"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(name: str, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, zip_of(whole({name: b""})))


def test_a_file_given_twice_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO(zip_of(whole()))
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("hello/__init__.py", b"import os\n")
    assert "it has 'hello/__init__.py' twice" in refused(tmp_path, out.getvalue())


def test_a_link_is_refused(tmp_path: Path) -> None:
    files = whole({"hello/link": b"/etc/passwd"})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFLNK if name == "hello/link" else stat.S_IFREG) << 16
            archive.writestr(info, content)
    assert "'hello/link' in it is no regular file" in refused(tmp_path, out.getvalue())


@pytest.mark.parametrize("size", ["a", "aaaa"])
def test_content_that_is_not_what_record_says_is_refused_as_it_is_read(size: str, tmp_path: Path) -> None:
    """Installers "should" refuse "any file ... not correctly hashed in RECORD"."""
    files = whole({"hello/a.py": b"good"})
    files["hello/a.py"] = b"evil"
    wheel = open_wheel(write(tmp_path, zip_of(files)))
    member = next(member for member in wheel.members if member.path == "hello/a.py")
    with pytest.raises(LayerError, match=r"hello-1.0-py3-none-any.whl: hello/a.py is not what it is said to be"):
        list(member.source.pieces(2**20))
    with pytest.raises(PackageError, match="do not use it"):
        wheel.read_member(member)


def test_a_file_of_which_record_says_another_size_or_nothing_is_refused(tmp_path: Path) -> None:
    files = whole({"hello/a.py": b"good"})
    files["hello/a.py"] = b"longer"
    assert "has 6 bytes, and by its RECORD 4" in refused(tmp_path, zip_of(files))
    files["hello/b.py"] = b"not mentioned"
    files["hello/a.py"] = b"good"
    assert "its RECORD has no hash for 'hello/b.py'" in refused(tmp_path, zip_of(files))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"METADATA": b"Name: other\nVersion: 1.0\n"}, "by its METADATA it is 'other' '1.0'"),
        ({"METADATA": b"Name: hello\nVersion: 2.0\n"}, "by its METADATA it is 'hello' '2.0'"),
        ({"METADATA": b"\xff"}, "is not UTF-8"),
        ({"WHEEL": b"Wheel-Version: 2.0\n"}, "its format is of version '2.0'"),
        ({"WHEEL": b""}, "its format is of version"),
    ],
)
def test_a_wheel_that_contradicts_its_name_is_refused(named: dict[str, bytes], message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, zip_of(whole({f"{INFO}/{name}": text for name, text in named.items()})))


@pytest.mark.parametrize(
    "name", ["hello.whl", "hello-1.0.zip", "other-1.0-py3-none-any.whl", "hello-2.0-py3-none-any.whl"]
)
def test_a_file_whose_name_is_another_wheels_is_refused(name: str, tmp_path: Path) -> None:
    refused(tmp_path, zip_of(whole()), name)


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", zip_of({}), zip_of({"a": b""}), b"\x1f\x8b" + bytes(100)])
def test_what_is_no_wheel_is_refused(raw: bytes, tmp_path: Path) -> None:
    refused(tmp_path, raw)


def test_a_wheel_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    raw = zip_of(whole({"hello/a.py": bytes(range(256)) * 16}))
    for end in range(0, len(raw) - 1, 97):
        refused(tmp_path, raw[:end])


def test_two_headers_that_contradict_are_refused(tmp_path: Path) -> None:
    raw = bytearray(zip_of(whole({"hello/good.py": b"x"})))
    at = raw.index(b"hello/good.py")
    raw[at : at + 13] = b"hello/evil.py"
    assert "it calls one file 'hello/good.py' and 'hello/evil.py'" in refused(tmp_path, bytes(raw))


def test_files_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """Overlapping files make a bomb of a few bytes; each of them is within any ratio."""
    raw = bytearray(zip_of(whole({"hello/a.py": b"a" * 999, "hello/b.py": b"a" * 999})))
    # The size of what is stored, in both headers of the first: so that it reaches into the second.
    local = raw.index(b"hello/a.py") - 30
    central = raw.rindex(b"hello/a.py") - 46
    for at in (local + 18, central + 20):
        struct.pack_into("<I", raw, at, struct.unpack_from("<I", raw, at)[0] + 20)
    assert "lies within" in refused(tmp_path, bytes(raw))


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_is(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, files={"hello/zeros": bytes(2**20)})
    with pytest.raises(PackageError, match="limit `uncompressed_size`"):
        open_wheel(path, limits=Limits(uncompressed_size=2**19))
    with pytest.raises(PackageError, match="limit `ratio`"):
        open_wheel(path, limits=Limits(ratio=10, ratio_after=2**19))
    with pytest.raises(PackageError, match="limit `entries`"):
        open_wheel(path, limits=Limits(entries=2))
    raw = bytearray(path.read_bytes())
    record = re.escape(f",{2**20}".encode())
    assert record
    # It says that it is small.
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = raw.index(b"hello/zeros") if signature == b"PK\x03\x04" else raw.rindex(b"hello/zeros")
        head = raw.rindex(signature, 0, at)
        struct.pack_into("<I", raw, head + place, 10)
    path.write_bytes(raw)
    with pytest.raises(PackageError, match="has 10 bytes, and by its RECORD 1048576"):
        open_wheel(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_a_wheel_with_changed_bytes_is_refused_or_gives_what_record_says(data: st.DataObject, tmp_path: Path) -> None:
    files = whole({"hello/a.py": b"a" * 500, "hello-1.0.data/scripts/run": PROGRAM})
    raw = bytearray(zip_of(files))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        wheel = open_wheel(write(tmp_path, bytes(raw)))
        found = contents(wheel)
    except PackageError:
        return
    rows = {member.path: member.hash for member in wheel.members}
    for (scheme, path), content in found.items():
        assert rows[path].digest == hashlib.sha256(content).digest(), scheme


def test_many_wheels_are_open_at_once(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    wheels = [open_wheel(make_wheel(tmp_path, version=str(version))) for version in range(50)]
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10
    assert all(contents(wheel) for wheel in wheels)


def test_a_wheel_that_is_passing_can_be_read_when_it_is_gone(tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    passing, kept = open_wheel(path, is_passing=True), open_wheel(path)
    path.unlink()
    assert contents(passing)
    with pytest.raises(PackageError, match="cannot be read any more: No such file"):
        contents(kept)
