"""What a caller knows of all items: which there are, and of each its events and its vector.

Legend: I items of the catalogue, U distinct items of the rows, D dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roilake.errors import MetricError
from roilake.metrics.arrays import Array, floats, host, namespace
from roilake.metrics.classification import refuse
from roilake.metrics.ids import Ids
from roilake.metrics.lists import Catalogue
from roilake.metrics.registry import Metric


@dataclass(frozen=True)
class KnownItems:
    """``place`` is the row of each item; events [I] and vectors [I, D] are None where they are not known."""

    place: Mapping[Any, int]
    events_I: Array | None
    vectors_ID: Array | None

    @classmethod
    def of(cls, ids: Any, events: Any, vectors: Any, like: Array) -> KnownItems:
        """From ids [I] (0, 1, ... without them), events and vectors, as float64 beside ``like``. MetricError for an
        item that is null or there twice, events that are no counts, vectors that are not finite, or unequal lengths."""
        events_I = None if events is None else floats(events, like, "events")
        vectors_ID = None if vectors is None else floats(vectors, like, "vectors")
        known = {"catalogue": ids, "events": events_I, "vectors": vectors_ID}
        sizes = {name: len(column) for name, column in known.items() if column is not None}
        if len(set(sizes.values())) != 1:
            found = ", ".join(f"{size} of {name}" for name, size in sizes.items())
            raise MetricError(f"the catalogue needs one row an item, not {found}")
        if events_I is not None:
            refuse(~(namespace(events_I).isfinite(events_I) & (events_I >= 0)), events_I, "events must be counts")
        if vectors_ID is not None:
            sums_I = vectors_ID.sum(1) if vectors_ID.ndim == 2 else vectors_ID * float("nan")
            refuse(~namespace(sums_I).isfinite(sums_I), sums_I, "vectors must be finite and equally long")
        count = sizes.popitem()[1]
        return cls(_places(ids) if ids is not None else {item: item for item in range(count)}, events_I, vectors_ID)

    def of_metric(self, name: str, metric: Metric, items: Ids) -> Catalogue:
        """What the metric needs, of the items of some rows [U]. MetricError where it is not known."""
        place_U = self._rows(items)
        if metric.needs != "items" and getattr(self, _COLUMNS[metric.needs]) is None:
            raise MetricError(f"{name} needs {metric.needs} of the catalogue")
        events_U, vectors_UD = (None if each is None else each[place_U] for each in (self.events_I, self.vectors_ID))
        total = 0.0 if self.events_I is None else float(self.events_I.sum()) + len(self.events_I)
        return Catalogue(events_U, vectors_UD, total, len(self.place))

    def _rows(self, items: Ids) -> NDArray[np.int64]:
        """The row of each distinct item [U]. MetricError for one that is in none."""
        place_U = np.fromiter((self.place.get(item, -1) for item in items.plain), np.int64, len(items.values))
        missing = [item for item, place in zip(items.plain, place_U, strict=True) if place < 0]
        if missing:
            raise MetricError(
                f"item {missing[0]!r} is not in the catalogue of {len(self.place)} items ({len(missing)} such items): "
                "add it, with 0 events where it has none"
            )
        return place_U


_COLUMNS = {"events": "events_I", "vectors": "vectors_ID"}


def _places(ids: Any) -> dict[Any, int]:
    """The row of each item. MetricError for one that is there twice."""
    items = Ids.of("catalogue", ids)
    code_I = host(items.code_N)
    twice = np.flatnonzero(np.bincount(code_I) > 1)
    if len(twice):
        raise MetricError(f"the catalogue has item {items.plain[twice[0]]!r} twice ({len(twice)} such items)")
    return {items.plain[code]: row for row, code in enumerate(code_I)}
