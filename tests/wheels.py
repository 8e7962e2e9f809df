"""Wheels as a build backend would make them, and such as nobody should."""

import base64
import hashlib
import io
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from layerkit.packages.python.target import Family, Libc, Target

BOOKWORM = Target(full_version="3.11.2", machine="x86_64", libc=Libc(Family.GLIBC, 2, 36))

PROGRAM = b"#!python\nprint('hello')\n"


def hash_of(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def record_of(files: Mapping[str, bytes], dist_info: str) -> bytes:
    rows = [f"{name},{hash_of(content)},{len(content)}" for name, content in files.items()]
    return "\n".join([*rows, f"{dist_info}/RECORD,,", ""]).encode()


def files_of(
    name: str = "hello",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    is_pure: bool = True,
    tag: str = "py3-none-any",
) -> dict[str, bytes]:
    """The files of a wheel but for its RECORD."""
    dist_info = f"{name}-{version}.dist-info"
    return {
        f"{name}/__init__.py": b"def main():\n    print('hello')\n",
        f"{dist_info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{dist_info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: {str(is_pure).lower()}\nTag: {tag}\n".encode(),
        **(files or {}),
    }


def zip_of(files: Mapping[str, bytes], *, executable: frozenset[str] = frozenset()) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | (0o755 if name in executable else 0o644)) << 16
            archive.writestr(info, content)
    return out.getvalue()


def make_wheel(
    folder: Path,
    name: str = "hello",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    tag: str = "py3-none-any",
    executable: frozenset[str] = frozenset(),
    is_pure: bool = True,
) -> Path:
    """The path of a wheel with these files and the usual ones."""
    whole = files_of(name, version, files, tag=tag, is_pure=is_pure)
    whole[f"{name}-{version}.dist-info/RECORD"] = record_of(whole, f"{name}-{version}.dist-info")
    path = folder / f"{name}-{version}-{tag}.whl"
    path.write_bytes(zip_of(whole, executable=executable))
    return path


def make_library(*needed: str, soname: str = "") -> bytes:
    """An ELF file for x86-64 of headers alone, that needs these libraries (System V ABI, "Object Files")."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (*needed, soname))
    names = [strings.index(b"\0" + name.encode() + b"\0") + 1 for name in (*needed, soname)]
    tags = [(1, at) for at in names[:-1]] + ([(14, names[-1])] if soname else [])
    begin = 64 + 2 * 56
    table = begin + 16 * (len(tags) + 3)
    tags += [(5, table), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    size = table + len(strings)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    place = struct.pack("<IIQQQQQQ", 2, 4, begin, begin, begin, len(dynamic), len(dynamic), 8)
    return head + load + place + dynamic + strings
