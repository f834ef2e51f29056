"""A background thread makes what comes next while the last is used: batches of a training, whose waiting is measured,
and the parts of what does not fit into memory."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")
_END = object()


class Prefetch(Generic[T]):
    """Iterate over ``source`` from a thread of its own, at most ``depth`` elements ahead.

    ``waited`` is the time in seconds that the consumer was blocked on the queue. An error of the source is raised where
    the consumer would have got the element. Use as a context manager: leaving it ends the thread."""

    def __init__(self, source: Iterable[T], depth: int = 4) -> None:
        self.waited = 0.0
        self._queue: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(source,), name="feed-prefetch", daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            start = time.perf_counter()
            element = self._queue.get()
            self.waited += time.perf_counter() - start
            if element is _END:
                return
            if isinstance(element, BaseException):
                raise element
            yield element  # type: ignore[misc]

    def _fill(self, source: Iterable[T]) -> None:
        try:
            for element in source:
                if not self._put(element):
                    return
            self._put(_END)
        except BaseException as error:  # handed to the consumer, whatever it is
            self._put(error)

    def _put(self, element: object) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(element, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def read_ahead(parts: Iterable[tuple[K, int]], read: Callable[[K], T], skip: int) -> Iterator[tuple[K, T, int]]:
    """Of ``parts`` (key, number of elements) those from element number ``skip`` of all on: the key, what ``read`` gives
    for it, and how many of its elements are to be skipped. At most one part is held beside the one that is used."""
    left = []
    for key, size in parts:
        if skip < size:
            left.append((key, skip))
        skip = max(0, skip - size)
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming: Future[T] | None = None
        for number, (key, skipped) in enumerate(left):
            held = (coming or pool.submit(read, key)).result()
            coming = pool.submit(read, left[number + 1][0]) if number + 1 < len(left) else None
            yield key, held, skipped
