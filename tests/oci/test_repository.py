"""`verified`: content that is checked while it is read. `page_of`: lists in parts."""

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid, SizeInvalid
from layerkit.oci.repository import Page, page_of, verified

pieces = st.lists(st.binary(max_size=8), max_size=6)


class Source:
    """Chunks one by one, and how many of them were taken."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.taken += 1
            yield chunk


def describe(content: bytes, *, size: int | None = None, algorithm: str = "sha256") -> Descriptor:
    length = len(content) if size is None else size
    return Descriptor(media_type="text/plain", digest=Digest.of(content, algorithm), size=length)


async def read(chunks: Sequence[bytes], descriptor: Descriptor, received: list[bytes]) -> None:
    """Read all chunks that come through into `received`."""
    async for chunk in verified(aiter(Source(chunks)), descriptor):
        received.append(chunk)  # noqa: PERF401 - what came before an error matters


@given(chunks=pieces, algorithm=st.sampled_from(["sha256", "sha512"]))
async def test_the_content_of_the_descriptor_comes_through_as_it_is(chunks: list[bytes], algorithm: str) -> None:
    received: list[bytes] = []
    await read(chunks, describe(b"".join(chunks), algorithm=algorithm), received)
    assert received == chunks


@given(chunks=pieces, more=st.binary(min_size=1, max_size=8))
async def test_no_byte_beyond_the_size_comes_through(chunks: list[bytes], more: bytes) -> None:
    """ "stop reading at size+1": an endless blob ends with its first chunk too many."""
    content = b"".join(chunks)
    received: list[bytes] = []
    with pytest.raises(SizeInvalid, match="longer than"):
        await read([*chunks, more], describe(content), received)
    assert received == chunks


@given(chunks=pieces, missing=st.binary(min_size=1, max_size=8))
async def test_an_early_end_is_noticed(chunks: list[bytes], missing: bytes) -> None:
    received: list[bytes] = []
    with pytest.raises(SizeInvalid, match="ended after"):
        await read(chunks, describe(b"".join(chunks) + missing), received)
    assert received == chunks


@given(chunks=pieces, other=st.binary(max_size=8))
async def test_other_content_of_the_same_size_is_noticed_at_the_end(chunks: list[bytes], other: bytes) -> None:
    content = b"".join(chunks)
    if other == content:
        return
    with pytest.raises(DigestInvalid, match="damaged"):
        await read(chunks, describe(other, size=len(content)), [])


async def test_nothing_more_is_taken_from_an_endless_source() -> None:
    source = Source([b"x" * 4] * 1000)
    with pytest.raises(SizeInvalid):
        async for _ in verified(aiter(source), describe(b"x" * 6)):
            pass
    assert source.taken == 2


names = st.frozensets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3), max_size=8)


@given(names, st.integers(1, 9))
def test_the_pages_of_a_list_are_all_of_it_in_byte_order(items: frozenset[str], limit: int) -> None:
    """ "the tags MUST be in lexical order", and `last` is "non-inclusive" (distribution-spec, "Listing Tags")."""
    listed: list[str] = []
    page: Page[str] = Page((), last="")
    while page.last is not None:
        page = page_of(items, limit=limit, last=page.last)
        assert len(page.items) <= limit
        listed += page.items
    assert listed == sorted(items, key=str.encode)


@given(names, st.text(max_size=3))
def test_a_list_goes_on_after_a_name_that_need_not_be_in_it(items: frozenset[str], last: str) -> None:
    assert page_of(items, limit=None, last=last) == Page(tuple(sorted(item for item in items if item > last)))


@given(names)
def test_a_page_of_no_items_has_nothing_to_go_on_with(items: frozenset[str]) -> None:
    """ "When `n` is zero, this endpoint MUST return an empty list, and MUST NOT include a `Link` header"."""
    assert page_of(items, limit=0, last="") == Page(())
