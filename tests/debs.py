"""Debian packages as dpkg-deb would make them, and archives of them as a mirror has them, signed and in memory."""

import hashlib
import io
import lzma
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

import pysequoia

from layerkit.oci.errors import OCIError
from layerkit.remote.web import Answer


def make_tar(files: dict[str, bytes], *, links: dict[str, str] | None = None) -> bytes:
    """Names that end in a slash are directories; `=> TARGET` as content is a hardlink's."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(f"./{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in files.items():
            header = tarfile.TarInfo(f"./{name}")
            header.mode = 0o755 if name.endswith("/") or content.startswith(b"#!") else 0o644
            if name.endswith("/"):
                header.type = tarfile.DIRTYPE
                tar.addfile(header)
            elif content.startswith(b"=> "):
                header.type, header.linkname = tarfile.LNKTYPE, content[3:].decode()
                tar.addfile(header)
            else:
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return out.getvalue()


def make_ar(members: dict[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content)
        parts.append(b"\n" * (len(content) % 2))
    return b"".join(parts)


def make_deb(
    name: str,
    files: Mapping[str, bytes] | None = None,
    *,
    links: dict[str, str] | None = None,
    version: str = "1",
    architecture: str = "amd64",
    control: str = "",
    **scripts: str,
) -> bytes:
    """`control` are further lines, `scripts` further files of control.tar."""
    stanza = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{control}Description: a\n"
    inner = {"control": stanza.encode(), **{script: text.encode() for script, text in scripts.items()}}
    return make_ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(make_tar(inner)),
            "data.tar.xz": lzma.compress(make_tar({"./": b"", **(files or {})}, links=links)),
        }
    )


@cache
def make_key(name: str) -> pysequoia.Tsk:
    return pysequoia.Tsk.generate(f"{name} <{name}@archive.example>")


def sign(text: str, name: str = "archive") -> bytes:
    signer = make_key(name).signer()
    return bytes(pysequoia.sign(signer, text.encode(), mode=pysequoia.SignatureMode.CLEAR))


def keyring(*names: str) -> bytes:
    return b"".join(bytes(make_key(name).extract_certificate()) for name in names)


@dataclass
class Archive:
    """A mirror at `url` with one suite. `files` are what it answers with by URL, `asked` the URLs that were asked for.

    A package is `add`ed before the archive is `publish`ed.
    """

    url: str = "http://deb.example/debian"
    suite: str = "bookworm"
    component: str = "main"
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    _stanzas: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, files: Mapping[str, bytes] | None = None, **fields: str) -> None:
        """A package with these files; `fields` are those of make_deb, `depends` and `path`."""
        depends = fields.pop("depends", "")
        if depends:
            fields["control"] = f"Depends: {depends}\n" + fields.get("control", "")
        version, architecture = fields.get("version", "1"), fields.get("architecture", "amd64")
        path = fields.pop("path", f"pool/main/{name}_{version}_{architecture}.deb")
        deb = make_deb(name, files, **fields)  # type: ignore[arg-type]
        self.files[f"{self.url}/{path}"] = deb
        for listed in ("amd64", "arm64") if architecture == "all" else (architecture,):
            self._stanzas.setdefault(listed, []).append(
                f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields.get('control', '')}"
                f"Filename: {path}\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
            )

    def publish(self, signer: str = "archive", fields: str = "") -> None:
        base = f"{self.url}/dists/{self.suite}"
        lines = []
        for architecture, stanzas in self._stanzas.items():
            path = f"{self.component}/binary-{architecture}"
            packed = lzma.compress("\n".join(stanzas).encode())
            digest = hashlib.sha256(packed).hexdigest()
            self.files[f"{base}/{path}/by-hash/SHA256/{digest}"] = packed
            lines.append(f" {digest} {len(packed)} {path}/Packages.xz\n")
        text = (
            f"Suite: {self.suite}\nCodename: {self.suite}\nArchitectures: {' '.join(self._stanzas)}\n"
            f"Components: {self.component}\nAcquire-By-Hash: yes\n{fields}SHA256:\n{''.join(lines)}"
        )
        self.files[f"{base}/InRelease"] = sign(text, signer)

    @asynccontextmanager
    async def open_url(self, url: str, offset: int = 0, version: str = "") -> AsyncIterator[Answer]:
        self.asked.append(url)
        content = self.files.get(url)
        if content is None:
            raise OCIError(f"{url} answers with HTTP status 404, Not Found")

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        yield Answer(0, len(content), "", chunks())
