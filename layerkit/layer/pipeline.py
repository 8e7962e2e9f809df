"""Pipeline: work in several threads whose results come in order."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import Final, TypeVar

IN_FLIGHT: Final = 8
"""Of blocks: memory stays within twice of that, and more threads would find nothing to do."""

T = TypeVar("T")
U = TypeVar("U")


def map_in_order(function: Callable[[T], U], items: Iterable[T], threads: int) -> Generator[U, None, None]:
    """`function` of each item, in the order of the items, worked on in `threads` threads: at most IN_FLIGHT items are
    made before their results are used up.

    Whichever thread is free takes the next item itself, one at a time, so that an item is made while others are worked
    on. What `items` or `function` raise is raised where the result would have come. No thread outlives the call, and
    nothing of `items` runs after it.
    """
    source = iter(items)
    turn, room, is_over = Lock(), Semaphore(IN_FLIGHT), Event()
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


@contextmanager
def hand_on(function: Callable[[T], object], *, in_flight: int) -> Iterator[Callable[[T], None]]:
    """A way to hand items on to `function`, which works on them in their order and in a thread of its own: at most
    `in_flight` are there before it is done with them.

    What it raises is raised where the next item is handed on, or else at the end, by when it is done with all of them.
    Where the block raises, what waits is let go. No thread outlives the block.
    """
    room, is_over = Semaphore(in_flight), Event()
    line: SimpleQueue[T | _End] = SimpleQueue()
    failed: list[BaseException] = []

    def work() -> None:
        while not isinstance(item := line.get(), _End):
            if not is_over.is_set():
                try:
                    function(item)
                except BaseException as error:  # noqa: BLE001 - whoever hands on raises it
                    failed.append(error)
                    is_over.set()
            del item
            room.release()

    def put(item: T) -> None:
        room.acquire()
        if failed:
            raise failed[0]
        line.put(item)

    worker = Thread(target=work, name="hand-on")
    worker.start()
    try:
        yield put
    except BaseException:
        is_over.set()
        raise
    finally:
        line.put(_End())
        worker.join()
    if failed:
        raise failed[0]


class _End:
    """After the last item."""
