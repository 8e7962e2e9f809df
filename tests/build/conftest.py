"""Specs with files beside them, and the store that they are built into."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from layerkit.build.builder import Builder
from layerkit.build.built import BuiltImage
from layerkit.cli.environment import open_registry, open_url
from layerkit.content.store import Store
from layerkit.oci.platform import parse_platform
from layerkit.spec.load import load_file
from layerkit.spec.model import ImageSpec, Spec

Load = Callable[..., Spec]
Build = Callable[..., Awaitable[BuiltImage]]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """The folder of the spec."""
    folder = tmp_path / "context"
    folder.mkdir()
    return folder


@pytest.fixture
def load(context: Path) -> Load:
    def _load(text: str, *, platform: str = "linux/amd64") -> Spec:
        path = context / "layerkit.yaml"
        path.write_text(text)
        file = load_file(path, default_platform=parse_platform(platform))
        return file.images[0].specs[0]

    return _load


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", open_registry, create=True)


@pytest.fixture
def builder(store: Store, tmp_path: Path) -> Builder:
    return Builder(store=store, open_registry=open_registry, open_url=open_url, cache=tmp_path / "cache")


@pytest.fixture
def build(builder: Builder, load: Load) -> Build:
    """Build the text of a spec, of one image for one platform, into the store."""

    async def _build(text: str, *, platform: str = "linux/amd64") -> BuiltImage:
        spec = load(text, platform=platform)
        (result,) = await builder.build([ImageSpec(name=spec.name, tags=spec.tags, specs=(spec,))])
        (image,) = result.images
        return image

    return _build
