"""A .deb: ar, control.tar, data.tar (deb(5))."""

import contextlib
import io
import lzma
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.decompress import decompress_archive
from layerkit.packages.debian.deb import open_member, read_deb
from layerkit.packages.errors import PackageError

CONTROL = "Package: hello\nVersion: 1.0-1\nArchitecture: amd64\nDescription: a\n b\n"


def make_tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(f"./{name}")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return out.getvalue()


def make_ar(members: dict[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content)
        parts.append(b"\n" * (len(content) % 2))
    return b"".join(parts)


def make_deb(control: str = CONTROL, ending: str = ".xz", **scripts: bytes) -> bytes:
    codecs: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".xz": lzma.compress,
        ".zst": zstandard.ZstdCompressor().compress,
    }
    compress = codecs[ending]
    return make_ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{ending}": compress(make_tar({"control": control.encode(), **scripts})),
            f"data.tar{ending}": compress(make_tar({"usr/bin/hello": b"#!/bin/sh\n"})),
        }
    )


@pytest.mark.parametrize("ending", ["", ".xz", ".zst"])
def test_a_package_says_what_it_is_and_has_a_tar(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "hello.deb"
    path.write_bytes(make_deb(ending=ending, postinst=b"#!/bin/sh\nset -e\n"))
    deb = read_deb(path)
    assert (deb.name, deb.stanza["version"], deb.stanza["description"]) == ("hello", "1.0-1", "a\nb")
    assert deb.control["postinst"] == b"#!/bin/sh\nset -e\n"
    with open_member(path, deb.offset, deb.size) as data:
        tar = b"".join(decompress_archive(data))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        assert opened.getnames() == ["./usr/bin/hello"]


@pytest.mark.engine
def test_a_package_of_dpkg_is_read(tmp_path: Path) -> None:
    (tmp_path / "root/DEBIAN").mkdir(parents=True)
    (tmp_path / "root/DEBIAN/control").write_text(f"{CONTROL}Maintainer: a <a@b.example>\n")
    (tmp_path / "root/usr/share").mkdir(parents=True)
    (tmp_path / "root/usr/share/file").write_text("content")
    path = tmp_path / "hello.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tmp_path / "root", path], check=True, capture_output=True)
    assert read_deb(path).stanza["maintainer"] == "a <a@b.example>"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda deb: b"no archive" + deb, "is no Debian package: it is no ar archive"),
        (lambda deb: deb[:100], "ends early|is damaged"),
        (lambda deb: deb[:-40], "ends early, in its member 'data.tar.xz'"),
        (lambda deb: deb.replace(b"control.tar", b"contrl.tar "), "it has no control.tar"),
        (lambda deb: deb.replace(b"debian-binary", b"debian-banary"), "it has no member debian-binary"),
        (lambda _: make_deb("Package: hello\n"), "has no name, version or architecture"),
        (lambda _: make_deb("nonsense"), "expected `Field: value`"),
        (lambda deb: deb.replace(b"\xfd7zXZ", b"\xfd7zXX", 1), r"hello\.deb: its control\.tar cannot be read"),
    ],
)
def test_what_is_no_package_is_told_by_its_name(damage: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "hello.deb"
    path.write_bytes(damage(make_deb()))
    with pytest.raises(PackageError, match=message):
        read_deb(path)


def test_a_bomb_in_control_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hello.deb"
    path.write_bytes(make_deb(postinst=bytes(64 * 2**20)))
    with pytest.raises(PackageError, match=r"its control\.tar cannot be read"):
        read_deb(path)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_are_too_odd(tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int) -> None:
    whole = make_deb(ending="")
    path = tmp_path_factory.getbasetemp() / "odd.deb"
    path.write_bytes(whole[:at] + content + whole[at:])
    with contextlib.suppress(PackageError):
        read_deb(path)
