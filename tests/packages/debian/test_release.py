"""The signed table of contents of a suite (apt-secure(8))."""

import hashlib
from datetime import UTC, datetime

import pytest

from layerkit.packages.debian.release import verify_release
from layerkit.packages.errors import PackageError
from tests.debs import keyring, sign

NOW = datetime(2026, 11, 24, tzinfo=UTC)
URL = "https://mirror.example/debian/dists/trixie/InRelease"
_EMPTY = hashlib.sha256(b"").hexdigest()
_RELEASE = f"""Origin: Debian
Suite: stable
Codename: trixie
Architectures: all amd64 arm64
Components: main contrib
Acquire-By-Hash: yes
SHA256:
 {_EMPTY}        0 main/binary-amd64/Packages
 {"a" * 64}      123 main/binary-amd64/Packages.xz
 {"b" * 64}      456 main/binary-arm64/Packages.gz
"""


def test_a_release_that_a_key_of_the_keyring_signed_is_read() -> None:
    release = verify_release(sign(_RELEASE), keyring("other", "archive"), origin=URL, now=NOW)
    assert (release.suite, release.codename, release.by_hash) == ("stable", "trixie", True)
    assert release.components == ("main", "contrib")
    assert release.architectures == ("all", "amd64", "arm64")
    assert release.priority == 500


def test_the_list_of_a_component_is_found_in_its_smallest_form() -> None:
    release = verify_release(sign(_RELEASE), keyring("archive"), origin=URL, now=NOW)
    found = release.find_list("main", "amd64")
    assert found is not None
    assert (found[0], found[1].size) == ("main/binary-amd64/Packages.xz", 123)
    other = release.find_list("main", "arm64")
    assert other is not None
    assert other[0] == "main/binary-arm64/Packages.gz"
    assert release.find_list("contrib", "amd64") is None


def test_a_changed_release_is_refused_by_name() -> None:
    """ "apt-secure ... verifies the integrity of the downloaded Release files" """
    changed = sign(_RELEASE).replace(b"a" * 64, b"c" * 64)
    with pytest.raises(PackageError, match=rf"{URL} is not signed by a key of its keyring"):
        verify_release(changed, keyring("archive"), origin=URL, now=NOW)


def test_somebody_elses_signature_is_refused() -> None:
    with pytest.raises(PackageError, match="is not signed by a key of its keyring"):
        verify_release(sign(_RELEASE, "mallory"), keyring("archive"), origin=URL, now=NOW)


def test_what_stands_around_the_signed_text_is_not_read() -> None:
    raw = b"Suite: forged\n\n" + sign(_RELEASE) + b"\nSuite: forged\n"
    assert verify_release(raw, keyring("archive"), origin=URL, now=NOW).suite == "stable"


@pytest.mark.parametrize("raw", [b"", b"Suite: stable\n", b"\xff\xfe\x00", _RELEASE.encode()])
def test_what_is_not_signed_at_all_is_refused(raw: bytes) -> None:
    with pytest.raises(PackageError, match="is not signed by a key of its keyring"):
        verify_release(raw, keyring("archive"), origin=URL, now=NOW)


def test_a_keyring_without_keys_is_told() -> None:
    with pytest.raises(PackageError, match=r"the keyring for .* holds no OpenPGP certificates"):
        verify_release(sign(_RELEASE), b"no keys", origin=URL, now=NOW)


def test_an_expired_release_is_refused_but_in_a_dated_snapshot() -> None:
    expired = sign(_RELEASE + "Valid-Until: Mon, 23 Nov 2026 00:00:00 UTC\n")
    with pytest.raises(PackageError, match="has expired on 2026-11-23"):
        verify_release(expired, keyring("archive"), origin=URL, now=NOW)
    dated = "https://snapshot.example/archive/debian/20261101T000000Z/dists/trixie/InRelease"
    assert verify_release(expired, keyring("archive"), origin=dated, now=NOW).suite == "stable"


@pytest.mark.parametrize(
    ("fields", "priority"),
    [("NotAutomatic: yes\n", 1), ("NotAutomatic: yes\nButAutomaticUpgrades: yes\n", 100)],
)
def test_suites_that_are_not_automatic_have_a_low_priority(fields: str, priority: int) -> None:
    found = verify_release(sign(_RELEASE + fields), keyring("archive"), origin=URL, now=NOW)
    assert found.priority == priority


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Suite: stable\n", "has no SHA256 of its lists"),
        ("SHA256:\n abc 1 main\n", "expected `SHA256 SIZE PATH`"),
        (f"SHA256:\n {_EMPTY} x main\n", "expected `SHA256 SIZE PATH`"),
        (f"SHA256:\n {_EMPTY} 0 a\nValid-Until: soon\n", "Valid-Until is no date"),
    ],
)
def test_what_is_no_release_is_told(text: str, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        verify_release(sign(text), keyring("archive"), origin=URL, now=NOW)
