"""What all tests share: which of them run, and the programs that they run."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.programs import PROJECT, LayerkitProcess, RegistryProcess, run_registry

# Properties have no deadline: how fast a machine is says nothing of whether an answer is right.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_MUST_HAVE_ALL = os.geteuid() == 0 or "CI" in os.environ


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without root there are no engines: what needs one is visibly left out. As root and in CI it runs or fails."""
    if _MUST_HAVE_ALL:
        return
    engine = [item for item in items if item.get_closest_marker("engine")]
    config.hook.pytest_deselected(items=engine)
    items[:] = [item for item in items if not item.get_closest_marker("engine")]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of a test gets into the cache of whoever runs it, and nothing of that into a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Content has the name of its argument: made anew by each process it may differ in a time, and ids must not."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture
def layerkit(tmp_path: Path) -> LayerkitProcess:
    return LayerkitProcess(tmp_path / "data")


@pytest.fixture
def registry_process(tmp_path: Path) -> Iterator[RegistryProcess]:
    with run_registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A copy of specs/hello with its busybox, free to be changed."""
    busybox = PROJECT / "specs/hello/bin/busybox"
    if not busybox.exists():
        subprocess.run([PROJECT / ".ci/busybox", busybox], check=True, cwd=PROJECT)
    return Path(shutil.copytree(PROJECT / "specs/hello", tmp_path / "hello"))
