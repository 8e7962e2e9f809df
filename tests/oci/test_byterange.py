"""Ranges of content, against an oracle that knows nothing but positions."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from layerkit.oci.byterange import ByteRange, format_upload_range, parse_content_range, parse_range, resolve_all
from layerkit.oci.errors import BlobUploadInvalid, RangeInvalid

sizes = st.integers(0, 40)
positions = st.integers(0, 50)
ranges = (
    st.builds(ByteRange, positions)
    | st.tuples(positions, positions).map(lambda pair: ByteRange(min(pair), max(pair)))
    | st.builds(ByteRange, st.integers(-50, -1))
)


def satisfied_by(asked: ByteRange, position: int, size: int) -> bool:
    """Whether the byte at `position` of `size` bytes was asked for, as RFC 9110, section 14.1.2, words it."""
    if asked.first < 0:
        return position >= size + asked.first
    return asked.first <= position and (asked.last is None or position <= asked.last)


@given(ranges, sizes)
def test_a_range_is_resolved_to_the_bytes_it_asks_for(asked: ByteRange, size: int) -> None:
    """ "end beyond size clipped; start >= size -> 416"."""
    expected = [position for position in range(size) if satisfied_by(asked, position, size)]
    if expected:
        assert list(range(*asked.resolve(size))) == expected
        return
    with pytest.raises(RangeInvalid) as caught:
        asked.resolve(size)
    assert caught.value.details == ({"size": size},)


@given(st.lists(ranges, min_size=1, max_size=5), st.sampled_from(["", " ", "\t"]))
def test_several_ranges_come_back_in_their_order(asked: list[ByteRange], space: str) -> None:
    """ "Never 206 with only the first range": whoever answers sees all of them."""
    specs = [str(each).removeprefix("bytes=") for each in asked]
    assert parse_range("bytes=" + f"{space},{space}".join(specs)) == tuple(asked)


@given(st.lists(ranges, min_size=1, max_size=5), sizes)
def test_several_ranges_are_their_parts_or_the_whole(asked: list[ByteRange], size: int) -> None:
    """ "Never 206 with only the first range", and never a byte twice."""
    wanted = [[position for position in range(size) if satisfied_by(each, position, size)] for each in asked]
    wanted = [positions for positions in wanted if positions]
    if not wanted:
        with pytest.raises(RangeInvalid):
            resolve_all(asked, size)
        return
    found = [list(range(*part.resolve(size))) for part in resolve_all(asked, size)]
    together = [position for positions in wanted for position in positions]
    assert found == (wanted if len(set(together)) == len(together) else [])


@given(ranges)
def test_a_range_is_read_back_as_it_was_written(asked: ByteRange) -> None:
    assert parse_range(str(asked)) == (asked,)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (ByteRange(0, 0),)),
        ("bytes=9-", (ByteRange(9),)),
        ("bytes=-5", (ByteRange(-5),)),
        ("Bytes = 1-2", (ByteRange(1, 2),)),
        ("bytes= 0-1 , 4- , -2 ", (ByteRange(0, 1), ByteRange(4), ByteRange(-2))),
        ("bytes=9999999999999999999-", (ByteRange(9999999999999999999),)),
    ],
)
def test_a_range_header_is_read(header: str, expected: tuple[ByteRange, ...]) -> None:
    assert parse_range(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=0-1,",
        "bytes=a-b",
        "bytes=0-1-2",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1.0-2",
        "bytes=0x1-2",
        "bytes 0-1",
        "items=0-1",
        "bytes=\u0661-\u0662",
        "bytes=\u00b9-",
        "bytes=1\u00a0-2",
        "bytes=" + "9" * 20 + "-",
        "bytes=0-" + "9" * 10_000,
        "bytes=-" + "0" * 100_000,
    ],
)
def test_what_is_not_of_the_grammar_is_ignored(header: str) -> None:
    """ "A server MAY ignore the Range header field" (RFC 9110, section 14.2); "malformed unit -> ignore, 200"."""
    assert parse_range(header) == ()


@pytest.mark.parametrize("header", ["bytes=500-0", "bytes=-0", "bytes=0-1,5-4", "bytes=-00"])
def test_a_range_that_no_content_satisfies_is_refused(header: str) -> None:
    with pytest.raises(RangeInvalid) as caught:
        parse_range(header)
    assert caught.value.status == 416


@given(st.text() | st.text(alphabet="0123456789-, \u0663\t").map("bytes={}".format))
@example("bytes=" + "1" * 5000 + "-")
def test_any_header_is_ranges_or_none_or_range_invalid(header: str) -> None:
    try:
        found = parse_range(header)
    except RangeInvalid:
        return
    assert all(each.last is None or 0 <= each.first <= each.last for each in found)


@given(
    st.integers(0, 2**63), st.integers(1, 2**40), st.sampled_from(["{}-{}", "bytes {}-{}/*", "bytes={}-{}", " {}-{} "])
)
def test_a_chunk_s_range_is_inclusive(start: int, length: int, form: str) -> None:
    """ "`Content-Range: a-b` - no `bytes ` prefix, no `/total` (accept `bytes a-b/*` leniently)"."""
    assert parse_content_range(form.format(start, start + length - 1)) == (start, start + length)


def test_a_total_is_accepted() -> None:
    assert parse_content_range("bytes 0-9/10") == (0, 10)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        "0-",
        "-5",
        "5-4",
        "a-b",
        "bytes */10",
        "items 0-1",
        "0-1,2-3",
        "0--1",
        "\u0661-\u0662",
        "0-" + "9" * 20,
        "9" * 10_000,
    ],
)
def test_any_other_content_range_is_refused_with_the_form_expected(header: str) -> None:
    with pytest.raises(BlobUploadInvalid, match="expected FIRST-LAST, like 0-1023") as caught:
        parse_content_range(header)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(("offset", "header"), [(0, "0-0"), (1, "0-0"), (2, "0-1"), (2**40, f"0-{2**40 - 1}")])
def test_an_upload_s_range_is_inclusive_and_without_a_unit(offset: int, header: str) -> None:
    """ "Response `Range` is `0-N` inclusive, no `bytes=` ...; zero bytes: `0-0`"."""
    assert format_upload_range(offset) == header


@given(st.integers(1, 2**62))
def test_an_upload_s_range_tells_its_offset(offset: int) -> None:
    assert parse_content_range(format_upload_range(offset)) == (0, offset)
