"""Packages as dpkg-deb would make them, and systems to install them into."""

import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.layer.index import FileTree, LayerIndex, index_layer
from layerkit.oci.mediatype import OCI_LAYER
from layerkit.packages.debian.unpack import OpenDeb, open_deb

Make = Callable[..., OpenDeb]


class Base:
    """A base of one layer, whose small files can be read."""

    def __init__(self, files: dict[str, bytes] | None = None, *, links: dict[str, str] | None = None) -> None:
        raw = make_tar(files or {}, links=links or {})
        index: LayerIndex = index_layer(io.BytesIO(raw), OCI_LAYER)
        self.tree = FileTree.of([index])
        self._files = files or {}

    def read(self, path: str) -> bytes:
        return self._files.get(path.strip("/"), b"")


def make_tar(files: dict[str, bytes], *, links: dict[str, str] | None = None) -> bytes:
    """Names that end in a slash are directories; `=> TARGET` as content is a hardlink's."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(f"./{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in files.items():
            header = tarfile.TarInfo(f"./{name}")
            header.mode = 0o755 if name.endswith("/") or content.startswith(b"#!") else 0o644
            if name.endswith("/"):
                header.type = tarfile.DIRTYPE
                tar.addfile(header)
            elif content.startswith(b"=> "):
                header.type, header.linkname = tarfile.LNKTYPE, content[3:].decode()
                tar.addfile(header)
            else:
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return out.getvalue()


def make_ar(members: dict[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content)
        parts.append(b"\n" * (len(content) % 2))
    return b"".join(parts)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A package by its name, files and links; `control` are further lines, `scripts` further files of control.tar."""

    def _make(
        name: str,
        files: dict[str, bytes] | None = None,
        *,
        links: dict[str, str] | None = None,
        control: str = "",
        **scripts: str,
    ) -> OpenDeb:
        stanza = f"Package: {name}\nVersion: 1\nArchitecture: amd64\n{control}Description: a\n"
        inner = {"control": stanza.encode(), **{script: text.encode() for script, text in scripts.items()}}
        path = tmp_path / f"{name}.deb"
        path.write_bytes(
            make_ar(
                {
                    "debian-binary": b"2.0\n",
                    "control.tar.xz": lzma.compress(make_tar(inner)),
                    "data.tar.xz": lzma.compress(make_tar({"./": b"", **(files or {})}, links=links)),
                }
            )
        )
        return open_deb(path, tmp_path / "spool")

    return _make
