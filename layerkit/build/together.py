"""Together: several pieces of work at once, in order, of which the first failure ends all."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def run_together(works: Sequence[Coroutine[Any, Any, T]], *, at_once: int) -> list[T]:
    """What each of `works` returns, in their order. Raises what the first that fails raises, and cancels the others."""
    places = asyncio.Semaphore(at_once)

    async def run(work: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await work

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(work)) for work in works]
    except BaseExceptionGroup as error:
        # The first failure is the reason, the others follow from it.
        raise first_failure(error) from None
    finally:
        for work in works:
            # Those that never had their turn.
            work.close()
    return [task.result() for task in tasks]


def first_failure(error: BaseException) -> BaseException:
    """The reason of what a TaskGroup raises."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
