"""What package managers write into an image."""

import pytest

from layerkit.view.packages import Package, parse_apk, parse_dpkg

DPKG = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9
Description: GNU C Library
 Version: 9.9 of the description
 .

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: adduser
Status: install ok installed
Version: 3.134
"""


def test_debian_lists_what_is_installed() -> None:
    """dpkg(1): a package whose files are gone stays listed, for its configuration."""
    assert list(parse_dpkg(DPKG)) == [
        Package(kind="deb", name="libc6", version="2.36-9"),
        Package(kind="deb", name="adduser", version="3.134"),
    ]


def test_a_list_of_one_package_need_not_say_that_it_is_installed() -> None:
    """As distroless has it in status.d."""
    assert list(parse_dpkg("Package: tzdata\nVersion: 2024a\n")) == [
        Package(kind="deb", name="tzdata", version="2024a")
    ]


def test_alpine_lists_what_is_installed() -> None:
    text = "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\n\nP:zlib\nV:1.3-r0\n\n"
    assert list(parse_apk(text)) == [
        Package(kind="apk", name="musl", version="1.2.4-r2"),
        Package(kind="apk", name="zlib", version="1.3-r0"),
    ]


@pytest.mark.parametrize(
    "text", ["", "\n\n\n", "Package: x", ":", "\x00", "Package\nVersion", " Package: x\n Version: 1"]
)
def test_what_is_no_list_has_no_packages(text: str) -> None:
    assert list(parse_dpkg(text)) == list(parse_apk(text)) == []
