"""The cache of layers' headers: bounded, and never wrong."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from layerkit.build.headers import HeaderCache
from layerkit.layer.errors import LayerError
from layerkit.layer.index import LayerIndex, index_layer
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER
from tests.images import file, make_tar

LAYER = Digest.of(b"a layer as it is stored")


def make_index(*names: str) -> LayerIndex:
    return index_layer(io.BytesIO(make_tar(*map(file, names))), OCI_LAYER)


INDEX = make_index("a", "b")


@pytest.fixture
def cache(tmp_path: Path) -> HeaderCache:
    return HeaderCache(folder=tmp_path / "cache")


def files_of(cache: HeaderCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def test_what_is_remembered_is_found(cache: HeaderCache) -> None:
    assert cache.find(LAYER) is None
    cache.remember(LAYER, INDEX)
    assert cache.find(LAYER) == INDEX
    assert cache.find(LAYER, INDEX.diff_id) == INDEX
    assert cache.find(Digest.of(b"another")) is None


def test_a_diff_id_that_is_not_the_layers_is_refused(cache: HeaderCache) -> None:
    """S6: "Verify diff_id of base layers when indexing": an index from the cache says no less."""
    cache.remember(LAYER, INDEX)
    with pytest.raises(LayerError, match="its diff_id is"):
        cache.find(LAYER, Digest.of(b"what the config says"))


def test_a_diff_id_of_another_algorithm_is_no_answer(cache: HeaderCache) -> None:
    cache.remember(LAYER, INDEX)
    assert cache.find(LAYER, Digest.of(b"x", "sha512")) is None


@pytest.mark.parametrize("content", [b"", b"layerkit index 1\n", b"garbage"])
def test_a_file_that_a_crash_left_is_made_anew(cache: HeaderCache, content: bytes) -> None:
    cache.remember(LAYER, INDEX)
    (path,) = files_of(cache)
    path.write_bytes(content)
    assert cache.find(LAYER) is None
    cache.remember(LAYER, INDEX)
    assert cache.find(LAYER) == INDEX


def test_those_not_used_for_longest_go_first(cache: HeaderCache) -> None:
    digests = [Digest.of(b"%d" % number) for number in range(6)]
    small = HeaderCache(folder=cache.folder, most_bytes=10**6)
    for number, digest in enumerate(digests[:5]):
        small.remember(digest, make_index(f"name-{number}"))
        (path,) = [path for path in files_of(cache) if digest.encoded in path.name]
        os.utime(path, (number, number))
    assert small.find(digests[0]) is not None
    size = max(path.stat().st_size for path in files_of(cache))
    HeaderCache(folder=cache.folder, most_bytes=3 * size + 10).remember(digests[5], make_index("name-5"))
    assert [digest for digest in digests if cache.find(digest)] == [digests[0], digests[4], digests[5]]


def test_many_at_once_leave_whole_files_and_nothing_else(cache: HeaderCache) -> None:
    digests = [Digest.of(b"%d" % (number % 3)) for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda digest: cache.remember(digest, INDEX), digests))
        found = list(pool.map(cache.find, digests))
    assert found == [INDEX] * 60
    assert len(files_of(cache)) == 3


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = HeaderCache(folder=tmp_path / "file")
    cache.remember(LAYER, INDEX)
    assert cache.find(LAYER) is None
