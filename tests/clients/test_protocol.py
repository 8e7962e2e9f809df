"""What clients do beyond pushing and pulling one image: indexes, deletion, lists, referrers, parts of downloads.

No docker here: its tests share one engine, in test_hello.py.
"""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import oras.oci
import oras.provider
import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_MANIFEST
from tests.clients.multi import make_index
from tests.programs import LayerkitProcess, RegistryProcess, run_program

Run = Callable[..., str]


@pytest.mark.engine
class TestSkopeo:
    async def test_it_copies_all_platforms_there_and_back(
        self, registry_process: RegistryProcess, skopeo: Run, tmp_path: Path
    ) -> None:
        source, digest = await make_index(tmp_path / "layout")
        there = f"docker://{registry_process.address}/multi:all"
        skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", source, there)
        raw = skopeo("inspect", "--raw", "--tls-verify=false", there)
        assert Digest.of(raw.encode()) == digest
        back = f"oci:{tmp_path}/back:all"
        skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", there, back)
        assert Digest.of(skopeo("inspect", "--raw", back).encode()) == digest

    async def test_it_takes_the_image_of_one_platform(
        self, registry_process: RegistryProcess, skopeo: Run, tmp_path: Path
    ) -> None:
        source, _ = await make_index(tmp_path / "layout")
        there = f"docker://{registry_process.address}/multi:all"
        skopeo("copy", "--all", "--dest-tls-verify=false", source, there)
        arm = ("--override-arch", "arm64", "--override-os", "linux")
        assert json.loads(skopeo(*arm, "inspect", "--tls-verify=false", there))["Architecture"] == "arm64"

    async def test_it_lists_and_deletes(self, registry_process: RegistryProcess, skopeo: Run, tmp_path: Path) -> None:
        source, digest = await make_index(tmp_path / "layout")
        there = f"docker://{registry_process.address}/multi"
        for tag in ("one", "two"):
            skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", source, f"{there}:{tag}")
        assert json.loads(skopeo("list-tags", "--tls-verify=false", there))["Tags"] == ["one", "two"]
        # skopeo deletes the manifest, and with it all of its tags.
        skopeo("delete", "--tls-verify=false", f"{there}:one")
        with pytest.raises(pytest.fail.Exception, match=r"(?i)unknown"):
            skopeo("inspect", "--raw", "--tls-verify=false", f"{there}@{digest}")


@pytest.mark.engine
async def test_podman_pulls_its_platform_of_an_index(
    registry_process: RegistryProcess, skopeo: Run, podman: Run, tmp_path: Path
) -> None:
    source, _ = await make_index(tmp_path / "layout")
    name = f"{registry_process.address}/multi:all"
    skopeo("copy", "--all", "--dest-tls-verify=false", source, f"docker://{name}")
    podman("pull", "--tls-verify=false", "--platform", "linux/arm64", name)
    assert podman("inspect", "--format", "{{.Architecture}}", name).strip() == "arm64"


def test_oras_attaches_to_an_image_and_the_registry_tells_what(
    layerkit: LayerkitProcess, registry_process: RegistryProcess, tmp_path: Path
) -> None:
    (tmp_path / "layerkit.yaml").write_text("name: app\nfrom: scratch\nlayers: [{copy: [{content: a, dest: /a}]}]\n")
    name = f"{registry_process.address}/app:1"
    digest = layerkit("build", "-f", tmp_path / "layerkit.yaml", "-t", name, "--push").stdout.strip()
    (tmp_path / "sbom.json").write_text("{}")
    size = (layerkit.data / "layerkit/store/blobs/sha256" / digest.removeprefix("sha256:")).stat().st_size
    client = oras.provider.Registry(insecure=True)
    response = client.push(
        f"{registry_process.address}/app:sbom",
        files=[f"{tmp_path}/sbom.json:application/spdx+json"],
        disable_path_validation=True,
        subject=oras.oci.Subject(mediaType=OCI_MANIFEST, digest=digest, size=size),  # type: ignore[arg-type]
        quiet=True,
    )
    assert response.status_code == 201
    assert response.headers["OCI-Subject"] == digest
    url = f"http://{registry_process.address}/v2/app/referrers/{digest}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        index = json.loads(answer.read())
    assert [item["digest"] for item in index["manifests"]] == [response.headers["Docker-Content-Digest"]]


@pytest.fixture
def blob(registry_process: RegistryProcess) -> tuple[str, bytes]:
    """The URL of a blob of 3 MB, and its content."""
    content = bytes(range(256)) * 12_000
    base = f"http://{registry_process.address}/v2/files/blobs"
    request = urllib.request.Request(f"{base}/uploads/?digest={Digest.of(content)}", data=content, method="POST")
    urllib.request.urlopen(request, timeout=10).close()
    return f"{base}/{Digest.of(content)}", content


@pytest.mark.engine
class TestCurl:
    def test_it_resumes_a_download(self, blob: tuple[str, bytes], tmp_path: Path) -> None:
        url, content = blob
        target = tmp_path / "blob"
        target.write_bytes(content[:1_000_000])
        run_program("curl", "-sSf", "-C", "-", "-o", target, url)
        assert target.read_bytes() == content

    @pytest.mark.parametrize(("part", "start", "stop"), [("0-99", 0, 100), ("500-", 500, None), ("-7", -7, None)])
    def test_it_gets_a_part(
        self, blob: tuple[str, bytes], tmp_path: Path, part: str, start: int, stop: int | None
    ) -> None:
        url, content = blob
        run_program("curl", "-sSf", "-r", part, "-o", tmp_path / "part", url)
        assert (tmp_path / "part").read_bytes() == content[start:stop]

    def test_it_gets_several_parts_at_once(self, blob: tuple[str, bytes], tmp_path: Path) -> None:
        url, content = blob
        run_program("curl", "-sSf", "-r", "0-9,1000-1019", "-o", tmp_path / "parts", url)
        answer = (tmp_path / "parts").read_bytes()
        assert content[:10] in answer
        assert content[1000:1020] in answer
        assert answer.count(b"Content-Range: bytes ") == 2
