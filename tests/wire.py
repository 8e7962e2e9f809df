"""A client of the registry that sends what it is told and checks nothing: for tests of the protocol's bytes."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
from multidict import CIMultiDictProxy
from yarl import URL

from layerkit.oci.codec import encode_json
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST

_UNASKED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

Body = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True)
class Answer:
    """A response; `location` is its header's path and query."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of an error."""
        return [entry["code"] for entry in self.json["errors"]]


@dataclass(frozen=True)
class Wire:
    address: str
    session: aiohttp.ClientSession

    async def __call__(
        self, method: str, path: str, body: Body = None, *, headers: dict[str, str] | None = None
    ) -> Answer:
        url = URL(f"http://{self.address}{path}", encoded=True)
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.session.request(
            method, url, data=data, headers=headers, skip_auto_headers=_UNASKED, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def start(self, name: str, query: str = "") -> str:
        """The Location of a new upload."""
        return (await self("POST", f"/v2/{name}/blobs/uploads/{query}")).location

    async def push_blob(self, name: str, raw: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(raw, algorithm)
        answer = await self("PUT", f"{await self.start(name)}?digest={digest}", raw)
        assert answer.status == 201, answer.body
        return digest

    async def put_manifest(self, name: str, reference: str, raw: bytes, media_type: str = OCI_MANIFEST) -> Answer:
        return await self("PUT", f"/v2/{name}/manifests/{reference}", raw, headers={"Content-Type": media_type})

    async def push_image(self, name: str, tag: str = "", layer: bytes = b"layer") -> bytes:
        """The manifest of an image with one layer, pushed by its digest, or with a tag."""
        await self.push_blob(name, b"{}")
        await self.push_blob(name, layer)
        raw = image(blob(layer, OCI_LAYER_GZIP))
        answer = await self.put_manifest(name, tag or Digest.of(raw), raw)
        assert answer.status == 201, answer.body
        return raw

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Line"]:
        """A connection of one's own, for bytes that no client of good manners sends."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield Line(reader, writer)
        finally:
            writer.close()


@dataclass(frozen=True)
class Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def read_head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers, their names in lower case, of the next response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), {name.lower(): value for name, value in headers.items()}

    async def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.read_head()
        return status, headers, await self.reader.readexactly(int(headers.get("content-length", 0)))


def blob(raw: bytes, media_type: str = "application/octet-stream", algorithm: str = "sha256") -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(raw, algorithm), size=len(raw))


def image(*layers: Descriptor, config: Descriptor | None = None, **fields: object) -> bytes:
    """The bytes of an image manifest, with `{}` as its config."""
    return encode_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config or blob(b"{}", OCI_CONFIG),
            "layers": layers,
            **fields,
        }
    )


def index(*manifests: Descriptor, **fields: object) -> bytes:
    return encode_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests, **fields})


async def in_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    """A body whose length is not told before."""
    for chunk in chunks:
        yield chunk
