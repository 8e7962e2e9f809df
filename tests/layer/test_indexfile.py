"""Index files: what is written is read back, and nothing else is."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.layer.entry import EntryType
from layerkit.layer.index import IndexedEntry, LayerIndex, index_layer
from layerkit.layer.indexfile import VERSION, decode_index, encode_index
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER
from tests.images import file, folder, make_tar, member, symlink

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
NUMBERS = st.integers(0, 2**63 - 1)
ENTRIES = st.builds(
    IndexedEntry,
    path=NAMES | st.just("caf\udce9"),
    type=st.sampled_from(EntryType),
    mode=st.integers(0, 0o7777),
    uid=NUMBERS,
    gid=NUMBERS,
    size=NUMBERS,
    link=st.just("") | st.just("../caf\udce9"),
    mtime=st.integers(-(2**63), 2**63 - 1),
    xattrs=st.lists(st.tuples(st.just("user.caf\udce9"), st.binary(max_size=5)), max_size=2).map(tuple),
    device=st.just((0, 0)) | st.tuples(NUMBERS, NUMBERS),
    offset=NUMBERS,
    sparse=st.booleans(),
)

BASE = index_layer(
    io.BytesIO(
        make_tar(
            folder("etc"),
            file("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
            symlink("lib", "usr/lib"),
            member("dev/null", b"3", devmajor=1, devminor=3),
            file("tool", b"x", pax_headers={"SCHILY.xattr.user.a": "b"}),
            file("usr/.wh.old"),
        )
    ),
    OCI_LAYER,
)


@given(st.lists(ENTRIES, max_size=10), st.dictionaries(NUMBERS, st.binary(max_size=10), max_size=3))
def test_what_is_written_is_read_back(entries: list[IndexedEntry], contents: dict[int, bytes]) -> None:
    index = LayerIndex(entries=tuple(entries), diff_id=Digest.of(b"x"), uncompressed_size=7, contents=contents)
    assert decode_index(encode_index(index)) == index


def test_the_index_of_a_layer_comes_back_whole() -> None:
    assert BASE.contents == {BASE.entries[1].offset: b"root:x:0:0::/:/bin/sh\n"}
    assert decode_index(encode_index(BASE)) == BASE


def test_sha512_stays_sha512() -> None:
    index = LayerIndex(entries=(), diff_id=Digest.of(b"x", "sha512"), uncompressed_size=0)
    assert decode_index(encode_index(index)) == index


@pytest.mark.parametrize("place", [0, 15, 18, 40, 60, -1])
def test_a_damaged_file_is_no_index(place: int) -> None:
    content = bytearray(encode_index(BASE))
    content[place] ^= 1
    assert decode_index(bytes(content)) is None


@pytest.mark.parametrize("size", range(0, 250, 7))
def test_a_file_cut_short_is_no_index(size: int) -> None:
    assert decode_index(encode_index(BASE)[:size]) is None


def test_another_version_is_no_index() -> None:
    assert decode_index(encode_index(BASE).replace(b"index %d\n" % VERSION, b"index %d\n" % (VERSION + 1), 1)) is None
