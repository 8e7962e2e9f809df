"""/etc/ld.so.cache and the headers of shared libraries."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.packages.debian.ldcache import Cached, encode_cache, is_library_name, parse_cache, parse_library

_X86_64 = 0x0303


@pytest.mark.engine
def test_ldconfig_reads_what_is_written(tmp_path: Path) -> None:
    libraries = [
        Cached("libz.so.1", _X86_64, "/lib/x86_64-linux-gnu/libz.so.1"),
        Cached("libc.so.6", _X86_64, "/lib/x86_64-linux-gnu/libc.so.6"),
        Cached("libc.so.6", 0x0A03, "/lib/aarch64-linux-gnu/libc.so.6"),
    ]
    (tmp_path / "cache").write_bytes(encode_cache(libraries))
    shown = subprocess.run(
        ["/sbin/ldconfig", "-p", "-C", tmp_path / "cache"], capture_output=True, check=True, text=True
    ).stdout
    assert re.findall(r"\t(\S+) \((.*?)\) => (\S+)", shown) == [
        ("libz.so.1", "libc6,x86-64", "/lib/x86_64-linux-gnu/libz.so.1"),
        ("libc.so.6", "libc6,AArch64", "/lib/aarch64-linux-gnu/libc.so.6"),
        ("libc.so.6", "libc6,x86-64", "/lib/x86_64-linux-gnu/libc.so.6"),
    ]


@pytest.mark.engine
def test_this_machines_cache_is_read_and_written_in_the_same_order() -> None:
    """The loader looks names up by bisection: one in the wrong place is not found."""
    found = parse_cache(Path("/etc/ld.so.cache").read_bytes())
    assert len(found) > 50
    assert parse_cache(encode_cache(reversed(found))) == found
    libraries = [(item, parse_library(Path(item.path).read_bytes())) for item in found[:40]]
    assert all(library is not None and library.flags == item.flags for item, library in libraries)
    assert all(
        library is not None and library.soname == item.name
        for item, library in libraries
        if not Path(item.path).name.endswith(".so")
    )


def test_digits_count_as_numbers_and_above_letters() -> None:
    names = ["liba.so.10", "liba.so.9", "liba2.so.1", "libab.so.1", "liba.so"]
    cache = encode_cache(Cached(name, _X86_64, f"/lib/{name}") for name in names)
    assert [item.name for item in parse_cache(cache)] == [
        "liba2.so.1",
        "libab.so.1",
        "liba.so.10",
        "liba.so.9",
        "liba.so",
    ]


@given(
    st.sets(
        st.builds(
            Cached,
            st.from_regex(r"lib[a-z0-9_.+-]{1,12}\.so(\.[0-9]{1,3}){0,2}", fullmatch=True),
            st.sampled_from([0x0303, 0x0A03, 0x0903, 0x0003]),
            st.from_regex(r"/[a-z/]{1,12}/lib[a-z]{1,8}\.so", fullmatch=True),
        ),
        max_size=30,
    )
)
def test_what_is_written_is_read(libraries: set[Cached]) -> None:
    found = parse_cache(encode_cache(libraries))
    assert set(found) == libraries
    assert len(found) == len(libraries)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd_for_a_library(content: bytes) -> None:
    assert parse_library(content) is None
    assert parse_library(b"\x7fELF\x02\x01" + content) is None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("libc.so.6", True), ("ld-linux-x86-64.so.2", True), ("libz.so", True), ("libz.a", False), ("sort", False)],
)
def test_libraries_are_known_by_their_names(name: str, is_one: bool) -> None:
    assert is_library_name(name) is is_one
