"""The parts of what does not fit into memory, each read while the one before it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


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
