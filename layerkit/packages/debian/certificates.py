"""The certificates that TLS trusts: the bundle and the links that `update-ca-certificates` makes.

OpenSSL finds a certificate in a folder by the hash of its subject's name: Python of Debian does so. Sources:
update-ca-certificates(8), openssl-rehash(1); OpenSSL, `crypto/x509/x509_cmp.c` and `x_name.c`, for the hash.
"""

import base64
import hashlib
from typing import Final

from layerkit.layer.errors import LayerError
from layerkit.packages.debian.system import System

SHARED: Final = "usr/share/ca-certificates"
LOCAL: Final = "usr/local/share/ca-certificates"
FOLDER: Final = "etc/ssl/certs"
LIST: Final = "etc/ca-certificates.conf"
BUNDLE: Final = "ca-certificates.crt"
# The kinds of texts in a name, and how their letters are stored (X.690, X.520).
_TEXTS: Final = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


def install_certificates(system: System) -> None:
    """The bundle of all certificates that are there, a link for each of them, and the links by their hashes."""
    names = sorted(_find(system, SHARED, ""))
    system.make_directory(FOLDER)
    system.write(LIST, ("".join(f"{name}\n" for name in names)).encode())
    paths = {name: f"{SHARED}/{name}" for name in names}
    paths |= {f"local/{name}": f"{LOCAL}/{name}" for name in sorted(_find(system, LOCAL, ""))}
    bundle: list[bytes] = []
    taken: set[str] = set()
    for path in paths.values():
        try:
            content = system.read(path)
        except LayerError:
            continue
        if _BEGIN not in content:
            continue
        bundle.append(content if content.endswith(b"\n") else content + b"\n")
        name = path.rpartition("/")[2].removesuffix(".crt").replace(" ", "_")
        name = name.replace("(", "=").replace(")", "=").replace(",", "_") + ".pem"
        system.link(f"{FOLDER}/{name}", f"/{path}")
        try:
            digest = subject_hash(content)
        except ValueError:
            continue
        number = next(n for n in range(len(paths) + 1) if f"{digest}.{n}" not in taken)
        taken.add(f"{digest}.{number}")
        system.link(f"{FOLDER}/{digest}.{number}", name)
    system.write(f"{FOLDER}/{BUNDLE}", b"".join(bundle))


def subject_hash(pem: bytes) -> str:
    """What `openssl x509 -subject_hash` prints: of SHA-1 of the canonical name the first four bytes, backwards.

    Raises ValueError for what is no certificate.
    """
    body = pem.partition(_BEGIN)[2].partition(b"-----")[0]
    try:
        canonical = b"".join(_encode_set(rdn) for rdn in _items(_subject(base64.b64decode(body))))
    except IndexError:
        raise ValueError("no certificate") from None
    return hashlib.sha1(canonical, usedforsecurity=False).digest()[3::-1].hex()


def _subject(certificate: bytes) -> bytes:
    """The content of the subject of a certificate (RFC 5280, 4.1)."""
    (_, whole), *_ = _read(certificate)
    (_, signed), *_ = _read(whole)
    fields = [item for item in _read(signed) if item[0] != 0xA0]  # the version, which may be missing
    return fields[4][1]


def _items(content: bytes) -> list[bytes]:
    return [item for _, item in _read(content)]


def _read(content: bytes) -> list[tuple[int, bytes]]:
    """The elements of DER (X.690): tags and contents."""
    found, at = [], 0
    while at < len(content):
        tag, size = content[at], content[at + 1]
        at += 2
        if size & 0x80:
            digits = size & 0x7F
            size = int.from_bytes(content[at : at + digits], "big")
            at += digits
        found.append((tag, content[at : at + size]))
        at += size
    return found


def _encode_set(rdn: bytes) -> bytes:
    """A SET of attributes, whose texts are UTF-8, in lower case, with single spaces."""
    items = []
    for _, attribute in _read(rdn):
        (_, oid), (tag, value) = _read(attribute)
        if tag in _TEXTS:
            # Of ASCII alone: OpenSSL knows no other letters here.
            text = "".join(c.lower() if c.isascii() else c for c in value.decode(_TEXTS[tag]))
            tag, value = 0x0C, " ".join(text.split()).encode()
        items.append(_encode(0x30, _encode(0x06, oid) + _encode(tag, value)))
    return _encode(0x31, b"".join(sorted(items)))


def _encode(tag: int, content: bytes) -> bytes:
    """An element of DER (X.690)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def _find(system: System, folder: str, below: str) -> list[str]:
    found = []
    for name in system.names(folder):
        path = f"{folder}/{name}"
        if system.is_directory(path):
            found += _find(system, path, f"{below}{name}/")
        elif name.endswith(".crt"):
            found.append(f"{below}{name}")
    return found
