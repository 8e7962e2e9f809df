"""LAYERS, item 22: `security.capability` as revision 2."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.spec.capabilities import encode_capabilities, parse_capabilities, to_revision_2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # What `setcap` of libcap writes.
        ("cap_net_bind_service=ep", "0100000200040000000000000000000000000000"),
        ("cap_net_raw,cap_net_admin=p", "0000000200300000000000000000000000000000"),
        ("cap_net_raw=ip", "0000000200200000002000000000000000000000"),
        ("cap_checkpoint_restore=ep", "0100000200000000000000000001000000000000"),
        ("cap_syslog=ei", "0100000200000000000000000000000004000000"),
    ],
)
def test_the_bytes_are_those_of_the_kernel(text: str, value: str) -> None:
    assert encode_capabilities(parse_capabilities(text)).hex() == value


@given(st.binary(min_size=16, max_size=16), st.booleans(), st.integers(0, 2**32 - 1))
def test_revision_3_loses_the_root_of_its_namespace(sets: bytes, effective: bool, root: int) -> None:
    """LAYERS, item 22: "convert v3 24 bytes by dropping rootid as go-archive does"."""
    value = struct.pack("<I", 0x03000000 | effective) + sets + struct.pack("<I", root)
    assert to_revision_2(value) == struct.pack("<I", 0x02000000 | effective) + sets


def test_revision_2_stays() -> None:
    value = encode_capabilities(parse_capabilities("cap_chown=ep"))
    assert to_revision_2(value) == value


@pytest.mark.parametrize(
    "value", [b"", b"\x00", b"\0\0\0\1" + bytes(8), b"\0\0\0\2" + bytes(20), b"\0\0\0\3" + bytes(16)]
)
def test_what_is_no_revision_of_today_is_none(value: bytes) -> None:
    assert to_revision_2(value) is None
