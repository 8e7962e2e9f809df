"""Packages on disk, and systems to install them into."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.layer.index import LayerIndex, index_layer
from layerkit.layer.tree import FileTree
from layerkit.oci.mediatype import OCI_LAYER
from layerkit.packages.debian.unpack import OpenDeb, open_deb
from tests.debs import make_deb, make_tar

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
        path = tmp_path / f"{name}.deb"
        path.write_bytes(make_deb(name, files, links=links, control=control, **scripts))
        return open_deb(path, tmp_path / "spool")

    return _make
