"""Which positives of a split belong to each slice of a night, and what is known of users and items to tell.

Legend: R requests, P positives (flat, by request).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.pipelines.retrieval.config import SliceConfig

BUCKETS = ((0, "0"), (9, "1-9"), (99, "10-99"), (np.inf, "100+"))
"""Upper bounds and names of the activity buckets: number of the user's events before the window."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SliceAttributes:
    """``fields[type, name]`` gives the value of that field by node id (None where unknown), ``activity[as_of]`` the
    number of events of each user before the window, ``links`` the edge types that linked a positive to its request
    (columns request, item, edge_type)."""

    fields: Mapping[tuple[str, str], NDArray[np.object_]] = field(default_factory=dict)
    activity: Mapping[date, NDArray[np.int64]] = field(default_factory=dict)
    links: pa.Table | None = None


@dataclass(frozen=True)
class Positives:
    """The positives of a split, with what their requests carry [P]."""

    as_of: NDArray
    request: NDArray[np.int64]
    user: NDArray[np.int64]
    query: NDArray[np.int64]
    item: NDArray[np.int64]
    day: NDArray
    cold: Mask
    bare: Mask
    head: Mask

    @classmethod
    def of(cls, rows: pa.Table) -> Positives:
        """From one model's rows of one split, as ``retrieval.scoring.evaluate`` gives them."""
        row_P = np.repeat(np.arange(rows.num_rows), pc.list_value_length(rows["items"]).to_numpy())
        flat = {name: pc.list_flatten(rows[name]).to_numpy() for name in ("items", "days", "head")}
        spread = {name: rows[name].to_numpy()[row_P] for name in ("as_of", "request", "user", "query", "cold", "bare")}
        return cls(
            as_of=spread["as_of"],
            request=spread["request"],
            user=spread["user"].astype(np.int64),
            query=spread["query"].astype(np.int64),
            item=flat["items"].astype(np.int64),
            day=flat["days"],
            cold=spread["cold"].astype(np.bool_),
            bare=spread["bare"].astype(np.bool_),
            head=flat["head"].astype(np.bool_),
        )


def slice_masks(
    positives: Positives, slices: Mapping[str, SliceConfig], attributes: SliceAttributes
) -> dict[str, Mask]:
    """Slice to mask [P]: all, users without (cold) or with events before the window, and before the request (bare or
    with a history), the fifth of the items with
    most events before it (head) or the others, and those that the config names, as ``NAME=VALUE``: of an unknown value
    ``NAME=none``, of those that are not among the most frequent ``NAME=other``."""
    every = np.ones(len(positives.item), np.bool_)
    masks = {
        "all": every,
        "cold_users": positives.cold,
        "warm_users": ~positives.cold,
        "no_history": positives.bare,
        "with_history": ~positives.bare,
        "head_items": positives.head,
        "tail_items": ~positives.head,
    }
    for name, cut in slices.items():
        masks |= {f"{name}={value}": mask for value, mask in _cut(positives, cut, attributes)}
    return masks


def _cut(positives: Positives, cut: SliceConfig, attributes: SliceAttributes) -> Iterator[tuple[str, Mask]]:
    """Value and mask [P] of each slice by one cut."""
    if cut.by == "edge_type":
        yield from _linked(positives, attributes.links)
    elif cut.by == "day":
        days = np.datetime_as_string(positives.day.astype("datetime64[D]"))
        yield from _by_value(days, len(days), sort=True)
    elif cut.by == "activity":
        yield from _active(positives, attributes)
    else:
        values = attributes.fields[cut.by, cut.field or ""]
        ids = getattr(positives, cut.by)
        known = np.array([*values, None], dtype=object)[np.where((ids >= 0) & (ids < len(values)), ids, -1)]
        named = np.array(["none" if value is None else _own(str(value)) for value in known], dtype=object)
        yield from _by_value(named, cut.values, sort=False)


def _own(value: str) -> str:
    """A value's name, in quotes where it is that of what has no value, or of the rest."""
    return repr(value) if value in ("none", "other") else value


def _by_value(values: NDArray, most: int, *, sort: bool) -> Iterator[tuple[str, Mask]]:
    """One mask a value, of the ``most`` frequent values (ties by name), and one of all others."""
    counts = Counter(values.tolist())
    chosen = sorted(counts, key=lambda value: (-counts[value], value))[:most]
    for value in sorted(chosen) if sort else chosen:
        yield value, values == value
    rest = ~np.isin(values, chosen)
    if rest.any():
        yield "other", rest


def _active(positives: Positives, attributes: SliceAttributes) -> Iterator[tuple[str, Mask]]:
    events = np.zeros(len(positives.user), np.int64)
    for as_of, events_U in attributes.activity.items():
        mine = positives.as_of == np.datetime64(as_of)
        events[mine] = events_U[positives.user[mine]]
    bucket = np.searchsorted([bound for bound, _ in BUCKETS], events)
    for number, (_, name) in enumerate(BUCKETS):
        yield name, bucket == number


def _linked(positives: Positives, links: pa.Table | None) -> Iterator[tuple[str, Mask]]:
    """By edge type; a positive may be linked by several. ``none``: by no edge."""
    none = np.ones(len(positives.item), np.bool_)
    pairs = np.stack([positives.request, positives.item], 1).tolist()
    found: dict[str, set[tuple[int, int]]] = {}
    for row in links.to_pylist() if links is not None else ():
        found.setdefault(row["edge_type"], set()).add((row["request"], row["item"]))
    for edge_type in sorted(found):
        mask = np.array([(request, item) in found[edge_type] for request, item in pairs], np.bool_)
        none &= ~mask
        yield edge_type, mask
    yield "none", none
