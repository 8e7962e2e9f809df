"""Where apt of this machine gets its packages from (sources.list(5))."""

from pathlib import Path

import pysequoia
import pytest

from layerkit.packages.debian.sources import Source, find_sources, read_sources
from layerkit.packages.errors import PackageError


@pytest.fixture(scope="module")
def certificate() -> bytes:
    return bytes(pysequoia.Tsk.generate("archive <archive@example>").extract_certificate())


@pytest.fixture
def folder(tmp_path: Path, certificate: bytes) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "trusted.gpg.d").mkdir()
    (tmp_path / "trusted.gpg.d/archive.gpg").write_bytes(certificate)
    return tmp_path


def test_deb822_sources_are_read(folder: Path, certificate: bytes) -> None:
    key = folder / "key.gpg"
    key.write_bytes(certificate)
    (folder / "sources.list.d/debian.sources").write_text(
        "# a comment\n"
        "Types: deb deb-src\nURIs: http://one.example/debian/\nSuites: trixie trixie-updates\n"
        f"Components: main contrib\nSigned-By: {key}\n\n"
        "Types: deb\nURIs: http://two.example/debian-security\nSuites: trixie-security\nComponents: main\n"
        f"Architectures: amd64 arm64\nSigned-By: {key}\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: trixie\nComponents: main\n\n"
        "Types: deb-src\nURIs: http://source.example\nSuites: trixie\nComponents: main\n"
    )
    found = read_sources(folder)
    assert [(s.mirror, s.suite, s.components, s.architectures) for s in found] == [
        ("http://one.example/debian", "trixie", ("main", "contrib"), ()),
        ("http://one.example/debian", "trixie-updates", ("main", "contrib"), ()),
        ("http://two.example/debian-security", "trixie-security", ("main",), ("amd64", "arm64")),
    ]
    assert {s.keyring for s in found} == {certificate}
    assert found[0].release_url == "http://one.example/debian/dists/trixie/InRelease"


def test_one_line_sources_are_read(folder: Path, certificate: bytes) -> None:
    (folder / "sources.list").write_text(
        "deb http://one.example/debian trixie main contrib # a comment\n"
        "deb-src http://one.example/debian trixie main\n"
        "# deb http://off.example trixie main\n"
    )
    (folder / "sources.list.d/other.list").write_text(
        f"deb [arch=amd64,arm64 signed-by={folder}/trusted.gpg.d/archive.gpg] http://two.example/ flat/\n"
    )
    found = read_sources(folder)
    assert [(s.mirror, s.suite, s.components, s.architectures) for s in found] == [
        ("http://one.example/debian", "trixie", ("main", "contrib"), ()),
        ("http://two.example", "flat/", (), ("amd64", "arm64")),
    ]
    assert {s.keyring for s in found} == {certificate}
    assert found[1].release_url == "http://two.example/flat/InRelease"


def test_a_key_within_the_source_is_taken(folder: Path, certificate: bytes) -> None:
    armored = pysequoia.armor(certificate, pysequoia.ArmorKind.PublicKey)
    key = "\n".join(f" {line or '.'}" for line in armored.strip().splitlines())
    (folder / "sources.list.d/own.sources").write_text(
        f"Types: deb\nURIs: http://one.example\nSuites: trixie\nComponents: main\nSigned-By:\n{key}\n"
    )
    (found,) = read_sources(folder)
    assert pysequoia.Cert.from_bytes(found.keyring).fingerprint == pysequoia.Cert.from_bytes(certificate).fingerprint


def test_no_sources_at_all_are_no_error(tmp_path: Path) -> None:
    assert read_sources(tmp_path / "missing") == []


def test_a_line_that_is_none_is_told_with_its_place(folder: Path) -> None:
    (folder / "sources.list").write_text("\ndeb http://one.example\n")
    with pytest.raises(PackageError, match=r"sources\.list, line 2: expected `deb URI SUITE COMPONENT\.\.\.`"):
        read_sources(folder)


def make_source(suite: str, **fields: tuple[str, ...]) -> Source:
    return Source(mirror="http://one.example", suite=suite, components=("main",), keyring=b"", **fields)


def test_a_suite_brings_its_updates_and_security_updates() -> None:
    sources = [make_source(s) for s in ("bookworm", "trixie", "trixie-updates", "trixie-security", "trixie-backports")]
    found = find_sources(sources, "trixie", "amd64")
    assert [source.suite for source in found] == ["trixie", "trixie-updates", "trixie-security"]


def test_sources_of_other_architectures_do_not_count() -> None:
    sources = [make_source("trixie", architectures=("arm64",))]
    assert find_sources(sources, "trixie", "arm64") == sources
    with pytest.raises(PackageError, match=r"no source for the suite trixie \(it has trixie\): name `mirror:`"):
        find_sources(sources, "trixie", "amd64")
