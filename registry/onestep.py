"""Coroutines that wait for nothing, run through where they are called: no task, no turn of the event loop."""

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


class MustWaitError(Exception):
    """The coroutine waits for something. It was closed where it began to."""


def run_through(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of `coroutine`. Raises what it raises, and MustWaitError."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    coroutine.close()
    raise MustWaitError
