"""Answers as bytes: what aiohttp would write for a response, and what was written for the same question before.

Manifests, tags and small blobs are asked for over and over, and what is answered depends on two things alone: the call,
and the state of the index. As long as that state is the same, the answer is.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import _serialize_headers

State = Callable[[], Hashable]
"""Something that is another one after every change that anybody made, in this process or another."""

_MOST_BYTES: Final = 16 * 1024 * 1024
_LARGEST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. `head` is without its last lines, which change with the time."""

    status: int
    head: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        return b"".join((self.head, _last_lines(rfc822_formatted_time()), self.body))


def serialize(response: web.Response, *, is_head: bool) -> Answer:
    """What aiohttp writes for a response of any status but 1xx and 204, on a connection that stays open."""
    headers, body = response.headers, response.body or b""
    assert isinstance(body, bytes)  # noqa: S101 - handlers give bytes
    if "Content-Length" not in headers and (body or not (is_head or response.status == 304)):
        headers["Content-Length"] = str(len(body))
    # The empty line at the end comes after the last lines.
    head = _serialize_headers(f"HTTP/1.1 {response.status} {response.reason}", headers)[:-2]
    return Answer(response.status, head, b"" if is_head or response.status == 304 else body)


@lru_cache(maxsize=2)
def _last_lines(now: str) -> bytes:
    return f"Date: {now}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n".encode()


class RememberedAnswers:
    """The answers given in the present state, the ones last asked for, up to 16 MiB of them."""

    def __init__(self, state: State) -> None:
        self._read_state = state
        self._state: Hashable = None
        self._answers: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._bytes = 0

    def find(self, method: str, target: str) -> Answer | None:
        """The answer to the same request. In any case: `keep` is for what is answered from now on."""
        state = self._read_state()
        if state != self._state:
            self._state = state
            self._answers.clear()
            self._bytes = 0
            return None
        answer = self._answers.get((method, target))
        if answer is not None:
            self._answers.move_to_end((method, target))
        return answer

    def keep(self, method: str, target: str, answer: Answer) -> None:
        """Remember what was answered since `find` was asked for it. A change in between does no harm: the state that
        `find` saw is then no longer the present one."""
        if len(answer.body) > _LARGEST or (method, target) in self._answers:
            return
        self._answers[method, target] = answer
        self._bytes += _size_of(target, answer)
        while self._bytes > _MOST_BYTES:
            (_, target), oldest = self._answers.popitem(last=False)
            self._bytes -= _size_of(target, oldest)


def _size_of(target: str, answer: Answer) -> int:
    return len(target) + len(answer.head) + len(answer.body) + 500  # Python's objects themselves
