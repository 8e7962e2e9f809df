"""Files of a store: durable before they have their name, and never written behind somebody's back."""

import asyncio
import errno
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerkit.files import (
    BATCH,
    FileBlob,
    HashingFile,
    Progress,
    make_folder,
    readable_errors,
    replace_file,
)
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest, new_hash
from layerkit.oci.errors import DigestInvalid, OCIError, StorageFull
from layerkit.oci.mediatype import OCTET_STREAM

LARGE = bytes(range(256)) * 4096 * 3


class Place:
    """A folder in which one file is written and named."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "upload"
        self.target = folder / "blobs" / "blob"
        self.path.touch()

    def open(self, algorithm: str = "sha256") -> HashingFile:
        self.fd = os.open(self.path, os.O_RDWR)
        return HashingFile(self.fd, Progress(new_hash(algorithm)), place=str(self.folder))

    def is_open(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.fd), self.path.stat())
        except OSError:
            return False


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextmanager
def busy_threads() -> Iterator[threading.Event]:
    """The event loop's thread is busy until the event is set: whatever crosses to it waits."""
    loop = asyncio.get_running_loop()
    free = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        loop.set_default_executor(threads)
        threads.submit(free.wait)
        try:
            yield free
        finally:
            free.set()


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestWriting:
    @pytest.mark.parametrize("size", [1, 1000, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH])
    @pytest.mark.parametrize("chunk", [997, BATCH, 5 * BATCH])
    async def test_what_is_appended_is_in_the_file_and_in_its_digest(self, place: Place, size: int, chunk: int) -> None:
        raw = LARGE[:size]
        file = place.open()
        for start in range(0, size, chunk):
            await file.append(raw[start : start + chunk])
            assert file.offset == min(size, start + chunk)
        assert await file.publish(place.path, place.target, Digest.of(raw)) == Digest.of(raw)
        await file.close()
        assert place.target.read_bytes() == raw
        assert not place.path.exists()
        assert (file.written, file.progress.offset) == (size, size)

    async def test_closing_writes_what_is_left(self, place: Place) -> None:
        file = place.open()
        await file.append(b"left")
        assert place.path.read_bytes() == b""
        await file.close()
        assert place.path.read_bytes() == b"left"
        assert not place.is_open()

    async def test_settling_writes_without_closing(self, place: Place) -> None:
        file = place.open()
        await file.append(b"one ")
        await file.settle()
        assert place.path.read_bytes() == b"one "
        await file.append(b"two")
        await file.close()
        assert place.path.read_bytes() == b"one two"

    async def test_discarding_writes_nothing_more(self, place: Place) -> None:
        file = place.open()
        await file.append(b"kept")
        await file.settle()
        await file.append(b"dropped")
        await file.discard()
        await file.close()
        assert place.path.read_bytes() == b"kept"
        assert not place.is_open()

    async def test_a_digest_that_is_not_the_file_s_names_nothing(self, place: Place) -> None:
        file = place.open()
        await file.append(b"content")
        found = await file.publish(place.path, place.target, Digest.of(b"other"))
        await file.close()
        assert found == Digest.of(b"content")
        assert (place.path.exists(), place.target.exists()) == (True, False)

    async def test_a_digest_of_another_algorithm_is_found_by_reading_again(self, place: Place) -> None:
        digest = Digest.of(LARGE, "sha512")
        file = place.open("sha256")
        await file.append(LARGE)
        assert await file.publish(place.path, place.target, digest) == digest
        await file.close()
        assert place.target.read_bytes() == LARGE

    async def test_a_file_that_is_opened_again_goes_on_at_its_end(self, place: Place) -> None:
        for start in range(0, len(LARGE), 700_001):
            file = place.open()
            assert file.offset == file.written == start
            await file.append(LARGE[start : start + 700_001])
            await file.close()
        file = place.open()
        assert await file.publish(place.path, place.target, Digest.of(LARGE)) == Digest.of(LARGE)
        await file.close()

    async def test_what_is_known_of_a_file_is_not_read_again(self, place: Place) -> None:
        file = place.open()
        await file.append(b"one ")
        await file.close()
        fd = os.open(place.path, os.O_RDWR)
        again = HashingFile(fd, file.progress, place="here")
        await again.append(b"two")
        assert await again.publish(place.path, place.target, Digest.of(b"one two")) == Digest.of(b"one two")
        assert again.progress is file.progress
        assert again.progress.offset == 7
        await again.close()

    async def test_what_is_known_of_less_than_the_file_is_not_believed(self, place: Place) -> None:
        file = place.open()
        await file.append(b"one ")
        await file.close()
        place.path.write_bytes(b"one more ")
        fd = os.open(place.path, os.O_RDWR)
        again = HashingFile(fd, file.progress, place="here")
        await again.append(b"two")
        assert await again.publish(place.path, place.target, Digest.of(b"one more two")) == Digest.of(b"one more two")
        await again.close()

    async def test_a_name_is_given_only_to_what_is_written(self, place: Place) -> None:
        """Write, fsync, rename: until the end of the first the name is not there."""
        with busy_threads() as free:
            file = place.open()
            await file.append(b"content")
            publishing = asyncio.create_task(file.publish(place.path, place.target, Digest.of(b"content")))
            await turn()
            assert not place.target.exists()
            free.set()
            await publishing
            assert place.target.read_bytes() == b"content"
            await file.close()

    async def test_a_name_that_is_there_is_given_to_the_new_file(self, place: Place) -> None:
        place.target.parent.mkdir()
        place.target.write_bytes(b"damaged")
        file = place.open()
        await file.append(b"content")
        await file.publish(place.path, place.target, Digest.of(b"content"))
        await file.close()
        assert place.target.read_bytes() == b"content"


class TestCancellation:
    async def test_a_descriptor_stays_open_as_long_as_a_thread_may_write_to_it(self, place: Place) -> None:
        with busy_threads() as free:
            file = place.open()
            appending = asyncio.create_task(file.append(LARGE))
            await turn()
            assert appending.done(), "the batch is on its way to the thread"
            settling = asyncio.create_task(file.settle())
            await turn()
            settling.cancel()
            await asyncio.wait([settling])
            assert settling.cancelled()
            closing = asyncio.create_task(file.close())
            await turn()
            assert place.is_open()
            free.set()
            await closing
        assert not place.is_open()
        assert place.path.read_bytes() == LARGE
        assert file.written == len(LARGE)

    async def test_a_close_that_is_cancelled_as_well_closes_behind_the_thread(self, place: Place) -> None:
        with busy_threads() as free:
            file = place.open()
            await file.append(LARGE)
            closing = asyncio.create_task(file.close())
            # Cancelled while it waits, and again while it waits because of that.
            for _ in range(2):
                await turn()
                closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()
            assert place.is_open()
            free.set()
        await turn()
        assert not place.is_open()
        assert place.path.read_bytes() == LARGE

    async def test_the_number_of_a_closed_descriptor_is_never_written_to(self, place: Place) -> None:
        """It may be another file's by then."""
        with busy_threads() as free:
            file = place.open()
            await file.append(LARGE)
            closing = asyncio.create_task(file.close())
            for _ in range(2):
                await turn()
                closing.cancel()
            await asyncio.wait([closing])
            others = [os.open(place.folder / f"other{n}", os.O_RDWR | os.O_CREAT) for n in range(10)]
            assert place.fd not in others
            free.set()
        await turn()
        for other in others:
            assert os.fstat(other).st_size == 0
            os.close(other)

    async def test_a_batch_that_waits_for_the_thread_is_not_lost(self, place: Place) -> None:
        with busy_threads() as free:
            file = place.open()
            await file.append(LARGE[:BATCH])
            waiting = asyncio.create_task(file.append(LARGE[BATCH : 2 * BATCH]))
            await turn()
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            free.set()
            await file.append(LARGE[2 * BATCH :])
            assert await file.publish(place.path, place.target, Digest.of(LARGE)) == Digest.of(LARGE)
            await file.close()
        assert place.target.read_bytes() == LARGE

    async def test_a_publication_that_is_cancelled_happens_whole_or_not_at_all(self, place: Place) -> None:
        with busy_threads() as free:
            file = place.open()
            await file.append(b"content")
            publishing = asyncio.create_task(file.publish(place.path, place.target, Digest.of(b"content")))
            await turn()
            publishing.cancel()
            await asyncio.wait([publishing])
            free.set()
            await file.close()
        assert [path.read_bytes() for path in (place.path, place.target) if path.exists()] == [b"content"]

    async def test_discarding_waits_for_the_thread_and_hides_its_failure(self, place: Place) -> None:
        file = place.open()
        await file.append(b"content")
        await file.settle()
        with busy_threads() as free:
            publishing = asyncio.create_task(file.publish(place.path, place.target, Digest.of(b"content")))
            await turn()
            publishing.cancel()
            await asyncio.wait([publishing])
            discarding = asyncio.create_task(file.discard())
            await turn()
            assert not discarding.done()
            place.path.unlink()
            free.set()
            await discarding
            await file.close()
        assert not place.target.exists()
        assert not place.is_open()


class TestFailures:
    async def test_a_failing_write_is_told_and_the_file_still_closed(self, place: Place) -> None:
        place.fd = os.open(place.path, os.O_RDONLY)
        file = HashingFile(place.fd, Progress(new_hash()), place="the store")
        await file.append(b"content")
        with pytest.raises(OCIError, match="the store failed: bad file descriptor"):
            await file.settle()
        with pytest.raises(OCIError, match="the store failed: bad file descriptor"):
            await file.close()
        assert not place.is_open()
        assert (file.offset, file.written) == (7, 0)

    async def test_a_name_that_cannot_be_given_is_told(self, place: Place) -> None:
        place.target.mkdir(parents=True)
        file = place.open()
        await file.append(b"content")
        with pytest.raises(OCIError, match=f"{place.folder} failed: is a directory"):
            await file.publish(place.path, place.target, Digest.of(b"content"))
        with pytest.raises(OCIError):
            await file.close()
        assert not place.is_open()

    async def test_a_file_that_cannot_be_read_again_is_told(self, place: Place) -> None:
        place.path.write_bytes(b"content")
        place.fd = os.open(place.path, os.O_WRONLY)
        file = HashingFile(place.fd, Progress(new_hash()), place="the store")
        with pytest.raises(OCIError, match="the store failed: bad file descriptor"):
            await file.publish(place.path, place.target, Digest.of(b"content"))
        with pytest.raises(OCIError):
            await file.close()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_full_disk_is_told_as_such(self, number: int) -> None:
        with (
            pytest.raises(StorageFull, match=r"/the/store is full .*: free space and try again"),
            readable_errors("/the/store"),
        ):
            raise OSError(number, "in other words")

    def test_another_failure_names_the_place_and_the_file(self) -> None:
        with pytest.raises(OCIError, match=r"/the/store failed: permission denied \(/the/store/x\)"):
            with readable_errors("/the/store"):
                raise PermissionError(errno.EACCES, "in other words", "/the/store/x")

    def test_a_failure_without_a_number_is_told_in_its_words(self) -> None:
        with pytest.raises(OCIError, match="/the/store failed: not readable"), readable_errors("/the/store"):
            raise io.UnsupportedOperation("not readable")


class TestReading:
    def blob(self, path: Path, raw: bytes, start: int = 0, stop: int | None = None) -> FileBlob:
        path.write_bytes(raw)
        descriptor = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(raw), size=len(raw))
        return FileBlob(descriptor, start, len(raw) if stop is None else stop, path.open("rb", buffering=0))

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, len(LARGE)), (0, 1), (5, 5), (BATCH - 1, BATCH + 1), (1, len(LARGE))]
    )
    async def test_a_part_is_its_bytes(self, tmp_path: Path, start: int, stop: int) -> None:
        blob = self.blob(tmp_path / "blob", LARGE, start, stop)
        with blob.file:
            assert b"".join([chunk async for chunk in blob]) == LARGE[start:stop]

    async def test_a_damaged_file_is_told_at_its_end(self, tmp_path: Path) -> None:
        blob = self.blob(tmp_path / "blob", LARGE)
        with (tmp_path / "blob").open("r+b") as file:
            file.write(b"x")
        with blob.file, pytest.raises(DigestInvalid, match=blob.descriptor.digest):
            async for _ in blob:
                pass

    async def test_a_file_that_is_cut_while_it_is_read_ends(self, tmp_path: Path) -> None:
        blob = self.blob(tmp_path / "blob", LARGE, 1)
        os.truncate(tmp_path / "blob", 10)
        with blob.file:
            assert b"".join([chunk async for chunk in blob]) == LARGE[1:10]

    async def test_a_reader_that_is_cancelled_waits_for_its_thread(self, tmp_path: Path) -> None:
        """It closes the file, and the thread would read from whatever has its number then."""
        blob = self.blob(tmp_path / "blob", LARGE)

        async def read() -> None:
            with blob.file:
                async for _ in blob:
                    pass

        with busy_threads() as free:
            reading = asyncio.create_task(read())
            await turn()
            reading.cancel()
            await turn()
            assert not blob.file.closed
            free.set()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert blob.file.closed

    async def test_a_disk_that_fails_names_the_blob(self, tmp_path: Path) -> None:
        class Failing(io.RawIOBase):
            def seek(self, offset: int, whence: int = 0, /) -> int:
                return 0

            def read(self, size: int = -1, /) -> bytes:
                raise OSError(errno.EIO, "in other words")

        blob = self.blob(tmp_path / "blob", LARGE)
        blob.file.close()
        failing = FileBlob(blob.descriptor, 0, len(LARGE), Failing())  # type: ignore[arg-type] # as much of a file as is used
        with pytest.raises(OCIError, match=f"{blob.descriptor.digest} failed: input/output error"):
            async for _ in failing:
                pass


class TestSmallFiles:
    def test_content_is_replaced_as_a_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old and longer")
        with path.open("rb") as reader:
            replace_file(path, b"new")
            assert reader.read() == b"old and longer"
        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]

    def test_what_a_killed_writer_left_is_no_obstacle(self, tmp_path: Path) -> None:
        (tmp_path / ".file.new").write_bytes(b"half, and longer than the new one")
        replace_file(tmp_path / "file", b"new")
        assert (tmp_path / "file").read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [tmp_path / "file"]

    def test_a_folder_may_be_there(self, tmp_path: Path) -> None:
        for _ in range(2):
            make_folder(tmp_path / "folder")
        assert (tmp_path / "folder").is_dir()
