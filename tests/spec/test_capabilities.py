"""File capabilities (LAYERS, item 22): what cap_from_text(3) reads and the kernel can keep with a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.document.problem import InvalidValue
from layerkit.spec.capabilities import NUMBERS, Capabilities, parse_capabilities

BIND, RAW = 1 << 10, 1 << 13
ALL = (1 << 41) - 1


@pytest.mark.parametrize(
    ("text", "capabilities"),
    [
        ("cap_net_bind_service=ep", Capabilities(BIND, 0, effective=True)),
        ("cap_net_bind_service+ep", Capabilities(BIND, 0, effective=True)),
        ("CAP_NET_BIND_SERVICE=p", Capabilities(BIND, 0, effective=False)),
        ("cap_net_bind_service,cap_net_raw=eip", Capabilities(BIND | RAW, BIND | RAW, effective=True)),
        ("cap_net_bind_service=ep cap_net_raw=ep", Capabilities(BIND | RAW, 0, effective=True)),
        ("cap_net_raw=i", Capabilities(0, RAW, effective=False)),
        ("cap_net_raw=p+e", Capabilities(RAW, 0, effective=True)),
        ("cap_net_raw=eip-i", Capabilities(RAW, 0, effective=True)),
        ("=p", Capabilities(ALL, 0, effective=False)),
        ("all=ep", Capabilities(ALL, 0, effective=True)),
        ("all=ep cap_net_raw-ep", Capabilities(ALL & ~RAW, 0, effective=True)),
        ("cap_net_raw=ep =", None),
        ("cap_checkpoint_restore=ep", Capabilities(1 << 40, 0, effective=True)),
    ],
)
def test_the_text_is_that_of_setcap(text: str, capabilities: Capabilities | None) -> None:
    if capabilities is None:
        with pytest.raises(InvalidValue, match="gives no capability"):
            parse_capabilities(text)
    else:
        assert parse_capabilities(text) == capabilities


def test_the_numbers_are_those_of_the_kernel() -> None:
    """linux/capability.h: a few of them, so that no name is missing between."""
    known = {"cap_chown": 0, "cap_setpcap": 8, "cap_sys_admin": 21, "cap_setfcap": 31, "cap_syslog": 34, "cap_bpf": 39}
    assert {name: NUMBERS[name] for name in known} == known
    assert len(NUMBERS) == 41


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "expected capabilities, found an empty text", "write it like cap_net_bind_service=ep"),
        (
            "net_bind_service",
            "expected capabilities, found 'net_bind_service'",
            "write cap_net_bind_service=ep",
        ),
        ("cap_net_raw", "expected capabilities, found 'cap_net_raw'", "write cap_net_raw=ep"),
        ("cap_net_raw=x", "expected capabilities, found 'cap_net_raw=x'", "write it like cap_net_bind_service=ep"),
        ("net_raw=ep", "no capability is named 'net_raw'", "did you mean `cap_net_raw`?"),
        ("cap_net_bind=ep", "no capability is named 'cap_net_bind'", None),
        ("cap_zzzzzz=ep", "no capability is named 'cap_zzzzzz'", "the names are those of capabilities(7)"),
        ("+ep", "'+ep' names no capability", "write it like cap_net_bind_service=ep"),
        (
            "cap_net_raw=ep cap_net_bind_service=p",
            "'cap_net_raw=ep cap_net_bind_service=p': of a file either all of its capabilities are effective or none",
            "write e with each, or none",
        ),
        ("cap_net_raw=e", "'cap_net_raw=e' gives no capability", "write what is permitted, like cap_net_raw=ep"),
    ],
)
def test_what_no_file_can_have_is_refused(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_capabilities(text)
    assert caught.value.message == message
    assert hint is None or caught.value.hint == hint


@given(st.text() | st.text("cap_netrawl=+-eip, "))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        found = parse_capabilities(text)
    except InvalidValue:
        return
    assert 0 < found.permitted | found.inheritable <= ALL
