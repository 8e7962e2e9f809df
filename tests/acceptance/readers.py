"""The readers of the acceptance matrix: an image in a layout in, the tree that each program makes of it out."""

import json
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from tests.acceptance.image import TAG
from tests.acceptance.tree import Tree, read_folder, read_tars
from tests.engines import Client, run_buildah, run_podman
from tests.programs import LayerkitProcess, locate, run_program

NAME: Final = f"matrix:{TAG}"


def read_by_skopeo(layout: Path, scratch: Path) -> Tree:
    archive = scratch / "skopeo.tar"
    run_program("skopeo", "copy", f"oci:{layout}:{TAG}", f"docker-archive:{archive}:{NAME}")
    with tarfile.open(archive) as tar:
        (image,) = json.load(_open(tar, "manifest.json"))
        return read_tars(_open(tar, layer) for layer in image["Layers"])


def decompress_by_skopeo(layout: Path, scratch: Path) -> Tree:
    """For layers that no docker-archive takes."""
    target = scratch / "skopeo"
    run_program("skopeo", "copy", "--dest-decompress", f"oci:{layout}:{TAG}", f"dir:{target}")
    manifest = json.loads((target / "manifest.json").read_text())
    with ExitStack() as stack:
        layers = [target / layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]]
        return read_tars([stack.enter_context(layer.open("rb")) for layer in layers])


def _open(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.extractfile(name)
    assert member is not None, name
    return member


def read_by_umoci(layout: Path, scratch: Path) -> Tree:
    run_program("umoci", "unpack", "--image", f"{layout}:{TAG}", scratch / "bundle")
    return read_folder(scratch / "bundle/rootfs")


def write_archive(layout: Path, scratch: Path, form: str) -> Path:
    """The image in an archive of ours: what is built on it without anything new, as a user builds it."""
    archive = scratch / f"{form}.tar"
    _build(f"oci:{layout}:{TAG}", f"{form}:{archive}", scratch)
    return archive


def build_layout(base: str, scratch: Path) -> Path:
    """What is built on a base without anything new, as TAG of a layout."""
    _build(base, f"oci:{scratch}/built", scratch)
    return scratch / "built"


def _build(base: str, output: str, scratch: Path) -> None:
    spec = scratch / "layerkit.yaml"
    spec.write_text(f"name: matrix\nfrom: {base}\n")
    layerkit = LayerkitProcess(scratch / "data", {"XDG_CACHE_HOME": str(scratch / "cache")})
    layerkit("build", "-f", spec, "-t", f"localhost/{NAME}", "--platform", "linux/amd64", "-o", output)


def read_by_podman(layout: Path, scratch: Path) -> Tree:
    archive = write_archive(layout, scratch, "oci-archive")
    with run_podman() as podman:
        podman("load", "-i", archive)
        root = podman("image", "mount", f"localhost/{NAME}").strip()
        try:
            return read_folder(Path(root))
        finally:
            podman("image", "umount", "--all")


def read_by_buildah(layout: Path, scratch: Path) -> Tree:
    with run_buildah() as buildah:
        container = buildah("from", f"oci:{layout}:{TAG}").strip()
        try:
            return read_folder(Path(buildah("mount", container).strip()))
        finally:
            buildah("umount", container)


def export_from_docker(docker: Client, name: str, scratch: Path) -> Tree:
    """What `docker export` writes of a container of the image."""
    container = docker("create", name).strip()
    try:
        docker("export", "-o", scratch / "export.tar", container)
    finally:
        docker("rm", container)
    with (scratch / "export.tar").open("rb") as file:
        return read_tars([file])


def mount_from_docker(docker: Client, name: str, scratch: Path) -> Tree:
    """What the layers of the image are on docker's disk, mounted as docker does: by their short names."""
    driver = json.loads(docker("inspect", name))[0]["GraphDriver"]
    assert driver["Name"] == "overlay2", driver
    folders = [Path(driver["Data"]["UpperDir"]), *map(Path, driver["Data"]["LowerDir"].split(":"))]
    data = folders[0].parent.parent
    # All of their paths are longer than the page that the kernel takes.
    lower = ":".join(f"l/{(folder.parent / 'link').read_text()}" for folder in folders)
    target = scratch / "merged"
    target.mkdir()
    mount = [locate("mount"), "-t", "overlay", "-o", f"ro,lowerdir={lower}", "matrix"]
    subprocess.run([*mount, target], check=True, cwd=data, capture_output=True)
    try:
        return read_folder(target)
    finally:
        subprocess.run([locate("umount"), target], check=True, capture_output=True)


READERS: Final[dict[str, Callable[[Path, Path], Tree]]] = {
    "skopeo": read_by_skopeo,
    "umoci": read_by_umoci,
    "podman": read_by_podman,
    "buildah": read_by_buildah,
}
"""From the layout, and a folder to work in, to the tree."""

DOCKER_READERS: Final[dict[str, Callable[[Client, str, Path], Tree]]] = {
    "docker": mount_from_docker,
    "docker load": mount_from_docker,
    "docker export": export_from_docker,
}
"""From the image of an engine, and a folder to work in, to the tree."""
