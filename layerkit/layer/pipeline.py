"""Pipeline: work in several threads whose results come in order."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import Final, TypeVar

IN_FLIGHT: Final = 8
"""Of blocks that have the usual size: memory stays within twice of that, and more threads would find nothing to do."""

T = TypeVar("T")
U = TypeVar("U")


def map_in_order(
    function: Callable[[T], U], items: Iterable[T], threads: int, *, in_flight: int = IN_FLIGHT
) -> Generator[U, None, None]:
    """`function` of each item, in the order of the items, worked on in `threads` threads: at most `in_flight` items are
    made before their results are used up.

    Whichever thread is free takes the next item itself, one at a time, so that an item is made while others are worked
    on. What `items` or `function` raise is raised where the result would have come. No thread outlives the call, and
    nothing of `items` runs after it.
    """
    source = iter(items)
    turn, room, is_over = Lock(), Semaphore(in_flight), Event()
    line: SimpleQueue[Future[U] | None] = SimpleQueue()

    def work() -> None:
        while True:
            room.acquire()
            result: Future[U] = Future()
            with turn:
                if is_over.is_set():
                    return
                try:
                    item = next(source)
                except BaseException as error:  # noqa: BLE001 - whoever waits for the result raises it
                    is_over.set()
                    if not isinstance(error, StopIteration):
                        result.set_exception(error)
                        line.put(result)
                    line.put(None)
                    return
                line.put(result)
            try:
                result.set_result(function(item))
            except BaseException as error:  # noqa: BLE001 - as above
                result.set_exception(error)
            # Neither is to be kept while this thread waits.
            del item, result

    workers = [Thread(target=work, name=f"compress-{number}") for number in range(threads)]
    try:
        for worker in workers:
            worker.start()
        while (result := line.get()) is not None:
            yield result.result()
            room.release()
    finally:
        is_over.set()
        room.release(threads)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
