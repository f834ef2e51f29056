"""A background thread makes the next batches while the training uses the last one, and waiting is measured."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

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
