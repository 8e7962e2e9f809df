"""Which certificates we trust at a registry, and which of ours we show it.

Where docker and podman keep them: in a folder `certs.d/HOST:PORT`, `*.crt` are those of who signs the registry's,
`*.cert` with `*.key` beside it is ours. They come beside those that the system trusts.
Sources: docker, "Verify repository client with certificates"; containers/image, docs/containers-certs.d.5.md.
"""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from layerkit.oci.errors import OCIError

_SYSTEM_FOLDERS: Final = ("/etc/containers/certs.d", "/etc/docker/certs.d")


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """Files: `authorities` are of those whose signature we trust, `pairs` are our certificates and their keys."""

    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.authorities or self.pairs)

    def __add__(self, other: "Certificates") -> "Certificates":
        return Certificates(authorities=self.authorities + other.authorities, pairs=self.pairs + other.pairs)


def find_certificates(host: str, folders: Sequence[Path]) -> Certificates:
    """What the first of the `certs.d` folders that knows `HOST[:PORT]` has for it.

    Raises OCIError for a certificate of ours without its key, and for a key without its certificate.
    """
    for folder in folders:
        try:
            names = sorted(path.name for path in (folder / host).iterdir())
        except OSError:
            continue
        return _collect(folder / host, names)
    return Certificates()


def certificate_folders(environment: Mapping[str, str]) -> list[Path]:
    """The `certs.d` folders, the user's own first."""
    home = Path(environment.get("HOME") or "~").expanduser()
    own = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    return [own / "containers/certs.d", *map(Path, _SYSTEM_FOLDERS)]


def make_context(certificates: Certificates, *, verify: bool = True) -> ssl.SSLContext:
    """What a TLS connection needs; without `verify` any certificate of the other side is taken.

    Raises OCIError for a file that cannot be read or is none of the kind.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificates.authorities:
        # A registry's own certificate may be given in the place of its signer's, and one that was made at home lacks
        # what newer versions of Python insist on: other clients take both.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for path in certificates.authorities:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise _unusable(path, error, "PEM certificates") from error
    for certificate, key in certificates.pairs:
        try:
            # A key with a password is refused: asking for it would stop whoever runs us from a script.
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:
            raise _unusable(f"{certificate} with {key}", error, "a PEM certificate and its key") from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password: keep it without one")


def _collect(folder: Path, names: Sequence[str]) -> Certificates:
    return Certificates(
        authorities=tuple(folder / name for name in names if name.endswith(".crt")),
        pairs=tuple(_pairs(folder, frozenset(names))),
    )


def _pairs(folder: Path, names: frozenset[str]) -> Iterator[tuple[Path, Path]]:
    stems = {name.rpartition(".")[0] for name in names if name.endswith((".cert", ".key"))}
    for stem in sorted(stems):
        certificate, key = folder / f"{stem}.cert", folder / f"{stem}.key"
        for path, other in ((certificate, key), (key, certificate)):
            if path.name not in names:
                raise OCIError(f"{other} stands alone: {path.name} must be beside it")
        yield certificate, key


def _unusable(what: object, error: Exception, expected: str) -> OCIError:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return OCIError(f"{what} cannot be read: {(error.strerror or str(error)).lower()}")
    reason = error.reason.lower().replace("_", " ") if isinstance(error, ssl.SSLError) and error.reason else str(error)
    return OCIError(f"{what}: not {expected} ({reason})")
