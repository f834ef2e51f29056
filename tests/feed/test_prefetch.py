from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from roilake.feed.prefetch import Prefetch


def test_elements_come_in_order_and_waiting_is_measured() -> None:
    def slow() -> Iterator[int]:
        for number in range(5):
            time.sleep(0.02)
            yield number

    with Prefetch(slow()) as elements:
        assert list(elements) == list(range(5))
    assert elements.waited > 0.05


def test_an_error_of_the_source_reaches_the_consumer() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("row 7 is bad")

    with Prefetch(broken()) as elements, pytest.raises(ValueError, match="row 7"):
        list(elements)


def test_leaving_early_ends_the_thread() -> None:
    with Prefetch(iter(range(10**9)), depth=2) as elements:
        assert next(iter(elements)) == 0
    assert not any(thread.name == "feed-prefetch" for thread in threading.enumerate())
