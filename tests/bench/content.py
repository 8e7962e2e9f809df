"""What is pushed to the servers, and pulled from them."""

import urllib.request
from pathlib import Path

from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from tests.bench.measuring import run

SMALL = 10_000


def fill(base: str, large: Path) -> Digest:
    """An image with a small layer, the answer its digest; and the large blob."""
    config = ImageConfig.build({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    contents = {OCI_CONFIG: config.raw, OCI_LAYER_GZIP: b"s" * SMALL}
    descriptors = [Descriptor(media_type=k, digest=Digest.of(c), size=len(c)) for k, c in contents.items()]
    for content in contents.values():
        put(f"{start_upload(base)}digest={Digest.of(content)}", content)
    manifest = Manifest.encode(
        ImageManifest(schema_version=2, media_type=OCI_MANIFEST, config=descriptors[0], layers=(descriptors[1],))
    )
    put(f"{base}/v2/bench/manifests/1", manifest.raw, OCI_MANIFEST)
    push_file(base, large, Digest("sha256:" + run("sha256sum", str(large)).split()[0]))
    return manifest.digest


def start_upload(base: str) -> str:
    """The URL of a new upload, ready for its digest."""
    request = urllib.request.Request(f"{base}/v2/bench/blobs/uploads/", method="POST", data=b"")
    with urllib.request.urlopen(request) as response:
        location = str(response.headers["Location"])
    location = location if location.startswith("http") else base + location
    return f"{location}{'&' if '?' in location else '?'}"


def put(url: str, content: bytes, media_type: str = "application/octet-stream") -> None:
    request = urllib.request.Request(url, method="PUT", data=content, headers={"Content-Type": media_type})
    urllib.request.urlopen(request).close()


def push_file(base: str, path: Path, digest: Digest) -> None:
    run("curl", "-sf", "-o", "/dev/null", "-H", "Expect:", "-T", str(path), f"{start_upload(base)}digest={digest}")


def download(url: str) -> None:
    run("curl", "-sf", "-o", "/dev/null", url)
