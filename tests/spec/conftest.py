"""Specs in a folder of their own."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from layerkit.document.problem import DocumentError
from layerkit.oci.platform import Platform, parse_platform
from layerkit.spec.load import load_file
from layerkit.spec.model import Spec, SpecFile

Load = Callable[..., Spec]

_NONE: Mapping[str, str] = MappingProxyType({})
_AMD64 = parse_platform("linux/amd64")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The working folder, called `shop`."""
    before = Path.cwd()
    shop = tmp_path / "shop"
    shop.mkdir()
    os.chdir(shop)
    yield shop
    os.chdir(before)


@pytest.fixture
def load_file_text(folder: Path) -> Callable[..., SpecFile]:
    """Load the text as `layerkit.yaml`, whole."""

    def _load(text: str, **options: Any) -> SpecFile:
        Path("layerkit.yaml").write_text(text)
        return load_file("layerkit.yaml", **{"default_platform": _AMD64, **options})

    return _load


@pytest.fixture
def load(folder: Path) -> Load:
    """Load the text as `layerkit.yaml`: its first image, for its first platform."""

    def _load(
        text: str,
        *,
        platform: Platform = _AMD64,
        variables: Mapping[str, str] = _NONE,
        source_date_epoch: int | None = None,
    ) -> Spec:
        Path("layerkit.yaml").write_text(text)
        file = load_file(
            "layerkit.yaml",
            default_platform=platform,
            variables=variables,
            source_date_epoch=source_date_epoch,
        )
        return file.images[0].specs[0]

    return _load


@pytest.fixture
def refuse(load_file_text: Callable[..., SpecFile]) -> Callable[..., list[tuple[str, str]]]:
    """The problems of a text that is no spec, without the file's name: `line:column: message`, and the hint."""

    def _refuse(text: str, **options: Any) -> list[tuple[str, str]]:
        with pytest.raises(DocumentError) as caught:
            load_file_text(text, **options)
        return [(str(problem).removeprefix("layerkit.yaml:"), problem.hint) for problem in caught.value.problems]

    return _refuse
