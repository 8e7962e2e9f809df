"""A registry that loses its process, or its power, at any one of its writes: `python -m tests.registry.crashing`.

Each life is a child process on a folder of its own that does the same work until its N-th write, fsync, rename,
unlink or commit, and is killed there. For loss of power, what was not made durable by then is undone: bytes since
the file's last fsync, and names since their folder's.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw

from layerkit.oci.codec import encode_json
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import Manifest
from layerkit.oci.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from layerkit.oci.reference import RepositoryName, Tag
from layerkit.oci.repository import Registry, Repository
from registry.app import open_registry
from tests.wire import blob

NAME: Final = RepositoryName("team/app")
OTHER: Final = RepositoryName("other")
LATEST: Final = Tag("latest")
OLD: Final = Tag("old")
CONFIG: Final = b"{}"
FIRST: Final = bytes(range(256)) * 6_000
SECOND: Final = FIRST[::-1] + b"second"
CUT: Final = 1_200_000
"""Where the second layer's upload is interrupted."""

Acknowledge = Callable[..., None]


def image_of(layer: bytes) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": blob(CONFIG, OCI_CONFIG),
        "layers": [blob(layer, OCI_LAYER_GZIP)],
    }
    return Manifest.of(encode_json(document), OCI_MANIFEST)


async def push(repository: Repository, raw: bytes) -> None:
    async with repository.open_upload(await repository.start_upload()) as upload:
        await upload.append(raw)
        await upload.commit(Digest.of(raw))


async def push_everything(registry: Registry, acknowledge: Acknowledge) -> None:
    """What every life does. Acknowledged is what a client would have got a 2xx for."""
    repository, other = registry.repository(NAME), registry.repository(OTHER)
    for raw in (CONFIG, FIRST):
        await push(repository, raw)
        acknowledge(blob=Digest.of(raw), name=NAME)
    await repository.put_manifest(image_of(FIRST), [LATEST, OLD])
    acknowledge(tags={LATEST: image_of(FIRST).digest, OLD: image_of(FIRST).digest})

    upload_id = await repository.start_upload()
    async with repository.open_upload(upload_id) as upload:
        await upload.append(SECOND[:CUT])
    acknowledge(upload=upload_id)
    async with repository.open_upload(upload_id) as upload:
        await upload.append(SECOND[CUT:])
        await upload.commit(Digest.of(SECOND))
    acknowledge(blob=Digest.of(SECOND), name=NAME, ended=upload_id)
    await repository.put_manifest(image_of(SECOND), [LATEST])
    acknowledge(tags={LATEST: image_of(SECOND).digest})

    await other.mount_blob(Digest.of(FIRST), NAME)
    acknowledge(blob=Digest.of(FIRST), name=OTHER)
    # A second time: the file of an acknowledged blob is replaced.
    await push(other, FIRST)
    acknowledge(blob=Digest.of(FIRST), name=OTHER)
    abandoned = await repository.start_upload()
    async with repository.open_upload(abandoned) as upload:
        await upload.append(b"never mind")
        await upload.cancel()
    await repository.delete_tag(OLD)
    acknowledge(tags={OLD: None})


@dataclass
class Disk:
    """What a loss of power would leave of the files that were changed."""

    graveyard: Path
    loses_power: bool
    lasting: dict[tuple[int, int], int] = field(default_factory=dict)
    """By device and inode: the bytes that the last fsync made durable."""
    renames: list[tuple[Path, Path, Path | None]] = field(default_factory=list)
    """From where, to where, and where that which was there before is kept."""
    folders: list[Path] = field(default_factory=list)
    """Those that were made, and are not in their parents for good."""

    def written(self, fd: int) -> None:
        self.lasting.setdefault(identify(os.fstat(fd)), 0)

    def synced(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").resolve()
        if path.is_dir():
            self.renames = [move for move in self.renames if move[1].parent != path]
            self.folders = [folder for folder in self.folders if folder.parent != path]
        else:
            status = os.fstat(fd)
            self.lasting[identify(status)] = status.st_size

    def renamed(self, source: Path, target: Path) -> None:
        kept = None
        if target.exists():
            kept = self.graveyard / str(len(self.renames))
            kept.unlink(missing_ok=True)
            kept.hardlink_to(target)
        self.renames.append((source, target, kept))

    def fail(self) -> None:
        if self.loses_power:
            for source, target, kept in reversed(self.renames):
                target.replace(source)
                if kept:
                    kept.replace(target)
            for folder in self.folders:
                shutil.rmtree(folder, ignore_errors=True)
            for path in (self.graveyard.parent / "registry").rglob("*"):
                status = path.stat()
                size = self.lasting.get(identify(status))
                if size is not None and size < status.st_size:
                    os.truncate(path, size)
        os.kill(os.getpid(), signal.SIGKILL)


def identify(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def fail_at(number: int, disk: Disk) -> None:
    """Let this process fail before its `number`-th step, from 0."""
    steps = iter(range(number + 1))
    pwrite, fsync, rename, unlink, mkdir = os.pwrite, os.fsync, os.rename, os.unlink, os.mkdir

    def step() -> None:
        # What is undone at the failure goes through here as well.
        if next(steps, None) == number:
            disk.fail()

    def counted_pwrite(fd: int, content: Any, offset: int) -> int:
        step()
        disk.written(fd)
        # A part first: what is torn off in the middle of a write is seen as well.
        if len(content) > 1:
            pwrite(fd, content[: len(content) // 2], offset)
            step()
        return pwrite(fd, content, offset)

    def counted_fsync(fd: int) -> None:
        step()
        fsync(fd)
        disk.synced(fd)

    def counted_rename(source: Any, target: Any) -> None:
        step()
        disk.renamed(Path(source), Path(target))
        rename(source, target)

    def counted_unlink(path: Any, **options: Any) -> None:
        step()
        unlink(path, **options)

    def noted_mkdir(path: Any, *arguments: Any) -> None:
        mkdir(path, *arguments)
        # The folder of all is the business of whoever sets the server up.
        if Path(path).name != "registry":
            disk.folders.append(Path(path))

    class CountedConnection(apsw.Connection):
        def execute(self, statements: str, *arguments: Any, **options: Any) -> apsw.Cursor:
            if statements != "COMMIT":
                return super().execute(statements, *arguments, **options)
            step()
            cursor = super().execute(statements, *arguments, **options)
            step()
            return cursor

    changed: dict[Any, dict[str, Any]] = {
        os: {
            "pwrite": counted_pwrite,
            "fsync": counted_fsync,
            "rename": counted_rename,
            "unlink": counted_unlink,
            "mkdir": noted_mkdir,
        },
        apsw: {"Connection": CountedConnection},
    }
    for module, functions in changed.items():
        for name, function in functions.items():
            setattr(module, name, function)


async def live(root: Path, acknowledge: Acknowledge) -> None:
    async with open_registry(root) as registry:
        await push_everything(registry, acknowledge)


def run_life(folder: Path, number: int, *, loses_power: bool) -> None:
    with (folder / "acknowledged").open("a", buffering=1) as journal:

        def acknowledge(**facts: object) -> None:
            journal.write(json.dumps(facts) + "\n")

        fail_at(number, Disk(folder / "graveyard", loses_power))
        asyncio.run(live(folder / "registry", acknowledge))


def main(base: Path, *, loses_power: bool) -> None:
    """A folder for each life, by its number; the last one is not cut short."""
    number, status = 0, 1
    while status:
        folder = base / str(number)
        (folder / "graveyard").mkdir(parents=True)
        child = os.fork()
        if not child:
            try:
                run_life(folder, number, loses_power=loses_power)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if status not in {0, signal.SIGKILL}:
            sys.exit(f"life {number} ended with {status}")
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), loses_power=sys.argv[2] == "power")
