"""Sources: where apt of this machine gets its packages from, which stand in for what a spec leaves out.

Both of apt's forms are read: deb822 files (`*.sources`) and one-line files (`*.list`). Source: sources.list(5).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerkit.oci.digest import shorten
from layerkit.packages.debian.control import decode, iter_stanzas, parse_stanza
from layerkit.packages.errors import PackageError

DEFAULT_FOLDER: Final = Path("/etc/apt")
_OPTIONS: Final = re.compile(r"\[([^\]]*)\]")
_KEY: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One suite of one mirror. `keyring` are certificates; `architectures` is empty where it has all that it has."""

    mirror: str
    suite: str
    components: tuple[str, ...]
    keyring: bytes
    architectures: tuple[str, ...] = ()

    @property
    def is_flat(self) -> bool:
        """Whether the suite is a path, which has no components."""
        return self.suite.endswith("/")

    @property
    def release_url(self) -> str:
        return f"{self.folder}/InRelease"

    @property
    def folder(self) -> str:
        """The URL of what the suite has."""
        if self.is_flat:
            return f"{self.mirror}/{self.suite.strip('/')}".rstrip("/")
        return f"{self.mirror}/dists/{self.suite}"


def read_sources(folder: Path = DEFAULT_FOLDER) -> list[Source]:
    """All that apt has on this machine, those that are turned off excepted. Raises PackageError for a file that it
    could not read either; what cannot be had for want of a key is left to whoever asks for it."""
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    found: list[Source] = []
    for path in files:
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            continue
        except OSError as error:
            raise PackageError(f"{path} cannot be read: {error.strerror}") from error
        if path.suffix == ".list":
            found += _parse_lines(decode(raw), path, folder)
        elif path.suffix == ".sources":
            found += _parse_stanzas(raw, path, folder)
    return found


def find_sources(sources: Iterable[Source], suite: str, architecture: str) -> list[Source]:
    """Those of a suite, its updates and its security updates. Raises PackageError where there are none."""
    sources = list(sources)
    related = {suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates"}
    found = [
        source
        for source in sources
        if source.suite in related and (not source.architectures or architecture in source.architectures)
    ]
    if not any(source.suite == suite for source in found):
        offered = ", ".join(sorted({source.suite for source in sources})) or "none"
        raise PackageError(
            f"this machine's apt has no source for the suite {suite} (it has {offered}): "
            "name `mirror:` and `keyring:` in the spec"
        )
    return list(dict.fromkeys(found))


def _parse_stanzas(raw: bytes, path: Path, folder: Path) -> Iterator[Source]:
    for stanza in iter_stanzas(raw, origin=str(path)):
        fields = parse_stanza(decode(stanza), origin=str(path))
        if not fields or fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        for mirror in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(
                    mirror=mirror.rstrip("/"),
                    suite=suite,
                    components=tuple(fields.get("components", "").split()),
                    keyring=_read_keyring(fields.get("signed-by", ""), folder),
                    architectures=tuple(fields.get("architectures", "").split()),
                )


def _parse_lines(text: str, path: Path, folder: Path) -> Iterator[Source]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()  # noqa: PLW2901 - a comment ends any line
        kind, _, rest = line.partition(" ")
        if kind != "deb":
            continue
        options: dict[str, str] = {}
        found = _OPTIONS.search(rest)
        if found:
            options = dict(item.partition("=")[::2] for item in found[1].split())
            rest = rest[: found.start()] + rest[found.end() :]
        parts = rest.split()
        if len(parts) < 2:
            raise PackageError(f"{path}, line {number}: expected `deb URI SUITE COMPONENT...`, found {shorten(line)}")
        yield Source(
            mirror=parts[0].rstrip("/"),
            suite=parts[1],
            components=tuple(parts[2:]),
            keyring=_read_keyring(options.get("signed-by", ""), folder),
            architectures=tuple(options.get("arch", "").replace(",", " ").split()),
        )


def _read_keyring(signed_by: str, folder: Path) -> bytes:
    """The certificates that `Signed-By` names, or holds itself; all that apt trusts where there is none."""
    if _KEY in signed_by:
        # A line with a dot stands for an empty one (deb822(5)).
        return "\n".join("" if line == "." else line for line in signed_by.split("\n")).encode()
    if signed_by:
        paths = [Path(part) for part in signed_by.replace(",", " ").split() if part.startswith("/")]
        return join_keyrings(path.read_bytes() for path in paths if path.is_file())
    return trusted_keyring(folder)


def trusted_keyring(folder: Path = DEFAULT_FOLDER) -> bytes:
    """All that apt of this machine trusts for sources that say nothing else. Raises PackageError."""
    trusted = folder / "trusted.gpg.d"
    paths = [folder / "trusted.gpg", *sorted(trusted.glob("*.gpg")), *sorted(trusted.glob("*.asc"))]
    return join_keyrings(path.read_bytes() for path in paths if path.is_file())


def join_keyrings(keyrings: Iterable[bytes]) -> bytes:
    """Several files of certificates, armored or not, as one that is not. Raises PackageError."""
    import pysequoia  # noqa: PLC0415 - what builds no package layers has no need of it

    try:
        return b"".join(bytes(cert) for raw in keyrings if raw for cert in pysequoia.Cert.split_bytes(raw))
    except (RuntimeError, ValueError) as error:
        first = (str(error).strip().split("\n") or [""])[0]
        raise PackageError(f"a keyring holds no OpenPGP certificates: {first}") from None
