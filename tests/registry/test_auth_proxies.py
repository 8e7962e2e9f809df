"""What a server calls itself, whatever is said of it."""

import re
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from registry.handlers.proxies import Proxies, is_within

NAMES = ("Host", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix")
TOKENS = st.sampled_from(
    [
        "https",
        "http",
        "a.example",
        "[::1]:5",
        ":",
        "/",
        "//",
        "//evil",
        '"',
        "\\",
        "host=",
        "proto=",
        ",",
        ";",
        " ",
        "443",
    ]
)


def request(remote: str = "127.0.0.1", sockname: object = ("127.0.0.1", 5000), **headers: str) -> web.BaseRequest:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    transport = SimpleNamespace(get_extra_info=lambda name: sockname if name == "sockname" else None)
    found: Any = SimpleNamespace(remote=remote, headers=named, scheme="http", transport=transport)
    return cast("web.BaseRequest", found)


@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(st.text(max_size=60), st.lists(TOKENS).map("".join))))
def test_it_is_a_url_that_can_stand_in_a_header(headers: dict[str, str]) -> None:
    proxies = Proxies(["127.0.0.0/8"])
    url = proxies.public_url(request(**{name.replace("-", "_"): value for name, value in headers.items()}))
    parts = urlsplit(url)
    assert parts.scheme in {"http", "https"}
    assert parts.hostname
    assert re.fullmatch(r"[A-Za-z0-9._~:/\[\]-]+", url)
    assert not parts.path.startswith("//")
    assert not url.endswith("/")


@pytest.mark.parametrize(
    ("sockname", "expected"),
    [(("127.0.0.1", 5000), "127.0.0.1:5000"), (("::1", 5000, 0, 0), "[::1]:5000"), ("/run/socket", "localhost")],
)
def test_without_a_host_it_is_where_one_was_reached(sockname: object, expected: str) -> None:
    assert Proxies().public_url(request(sockname=sockname)) == f"http://{expected}"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("10.0.0.1, 192.0.2.7, 127.0.0.2", "192.0.2.7"),
        ("127.0.0.2", "127.0.0.1"),
        ("", "127.0.0.1"),
        (" , ,", "127.0.0.1"),
        ("unknown, 127.0.0.2", "unknown"),
    ],
)
def test_a_client_is_the_last_hop_that_is_no_proxy_of_ours(forwarded: str, expected: str) -> None:
    assert Proxies(["127.0.0.0/8"]).client_address(request(X_Forwarded_For=forwarded)) == expected
    assert Proxies().client_address(request(X_Forwarded_For=forwarded)) == "127.0.0.1"


def test_a_proxy_that_is_not_trusted_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its clients are sent to a wrong place for tokens, and nothing else says why."""
    proxies = Proxies()
    proxies.public_url(request(Host="a"))
    assert caplog.text == ""
    for _ in range(2):
        assert proxies.public_url(request(Host="a", X_Forwarded_Proto="https")) == "http://a"
    assert caplog.text.count("configure `trusted_proxies: [127.0.0.1]`, or `public_url`") == 1


def test_what_is_no_address_is_in_no_network() -> None:
    assert not is_within("unix", Proxies(["0.0.0.0/0"])._trusted)
