"""Range and Content-Range: parts of content.

Sources: RFC 9110, section 14; distribution-spec, "Pushing a blob in chunks" (its Content-Range is `first-last`).
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from layerkit.oci.errors import BlobUploadInvalid, RangeInvalid

_SPEC: Final = re.compile(r"\s*(\d*)\s*-\s*(\d*)\s*\Z", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"\s*(?:bytes[ =])?\s*(\d+)-(\d+)(?:/(?:\d+|\*))?\s*\Z", re.ASCII)
_MAX_DIGITS: Final = 19


class ByteRange(msgspec.Struct, frozen=True):
    """As asked for: from `first` on (or the last `-first` bytes where it is negative), up to and with `last`."""

    first: int
    last: int | None = None

    def resolve(self, size: int) -> tuple[int, int]:
        """`(start, stop)` within content of `size` bytes, clipped. Raises RangeInvalid where there is no such byte."""
        start = self.first if self.first >= 0 else max(0, size + self.first)
        stop = size if self.last is None else min(size, self.last + 1)
        if start >= stop:
            raise RangeInvalid(f"range {self} is not within the content's {size} bytes", details=[{"size": size}])
        return start, stop

    def __str__(self) -> str:
        """As the Range header's value."""
        if self.first < 0:
            return f"bytes={self.first}"
        return f"bytes={self.first}-{'' if self.last is None else self.last}"


def parse_range(header: str) -> tuple[ByteRange, ...]:
    """The ranges of a Range header; none where it is to be ignored: another unit, or not of the grammar.

    Raises RangeInvalid for `bytes=500-0` and `bytes=-0`, which no content satisfies.
    """
    unit, equals, text = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return ()
    ranges = []
    for part in text.split(","):
        match = _SPEC.match(part)
        if match is None or match[1] == match[2] == "" or max(len(match[1]), len(match[2])) > _MAX_DIGITS:
            return ()
        first, last = match[1], match[2]
        if (first and last and int(last) < int(first)) or (not first and int(last) == 0):
            raise RangeInvalid(f"range {part.strip()} has its end before its start")
        ranges.append(ByteRange(int(first), int(last) if last else None) if first else ByteRange(-int(last)))
    return tuple(ranges)


def resolve_all(ranges: Sequence[ByteRange], size: int) -> tuple[ByteRange, ...]:
    """The parts of content of `size` bytes that answer `ranges`, in their order, without those that it does not have.

    None where the whole is the better answer, because they overlap: so no header makes a server send more than the
    content (RFC 9110, section 17.15). They are not joined: containers/image takes the n-th part for its n-th range.
    Raises RangeInvalid where no range can be had.
    """
    found = []
    refusal = None
    for asked in ranges:
        try:
            start, stop = asked.resolve(size)
            found.append(ByteRange(start, stop - 1))
        except RangeInvalid as error:
            refusal = error
    if not found and refusal is not None:
        raise refusal
    ordered = sorted(found, key=lambda part: part.first)
    overlap = any(part.last is None or part.last >= after.first for part, after in pairwise(ordered))
    return () if overlap else tuple(found)


def parse_content_range(header: str) -> tuple[int, int]:
    """`(start, stop)` of an upload's chunk: `first-last`, or leniently `bytes first-last/*`.

    Raises BlobUploadInvalid for anything else.
    """
    match = _CONTENT_RANGE.match(header)
    if match is None or max(len(match[1]), len(match[2])) > _MAX_DIGITS or int(match[2]) < int(match[1]):
        raise BlobUploadInvalid(f"invalid Content-Range {header[:60]!r}: expected FIRST-LAST, like 0-1023")
    return int(match[1]), int(match[2]) + 1


def format_upload_range(offset: int) -> str:
    """The Range header of an upload that has `offset` bytes: `0-last`, and `0-0` for none."""
    return f"0-{max(0, offset - 1)}"
