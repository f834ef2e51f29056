"""Where each neighbour of a region of interest (ROI) sits: a tree per root, flattened into fixed slots; and ROIs for
people, one row per neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.errors import ConfigError
from roilake.pipelines.retrieval.config import Hops, RoiConfig

REQUEST_ROOTS = ("user", "query")
ITEM_ROOTS = ("item",)
RECENT = "user_item_recent"
OWN_EDGES = ("user_item", "user_query", RECENT)
"""Edge types that are cut from a user's history where they lie directly below a request's user."""


@dataclass(frozen=True)
class Slot:
    """The nodes that one edge type adds below one parent slot.

    The children of the parent's position p (0-based inside the parent slot; 0 for a root) lie at ``start + p * fanout
    ... start + (p + 1) * fanout - 1`` of a row; ``size = parent's size * fanout``."""

    name: str  # path from the root, e.g. "user/user_item/item_query"
    root: int  # index into RoiLayout.roots
    hop: int  # 1 for the neighbours of a root
    edge_type: str
    src_type: str
    dst_type: str
    parent: int | None  # index into RoiLayout.slots; None below a root
    fanout: int
    start: int
    size: int
    place: int | None = None
    """Of a slot that is cut from the user's history: where it begins among the entries of such slots."""


@dataclass(frozen=True)
class RoiLayout:
    """All slots in order: hop by hop, inside a hop by parent (roots in order, then slots in order), inside a
    parent by the config's order of edge types. A ROI has ``size`` entries, -1 where a list is short."""

    roots: tuple[str, ...]
    slots: tuple[Slot, ...]
    size: int

    @classmethod
    def of(cls, hops: Hops, roots: tuple[str, ...]) -> RoiLayout:
        """Lay out ``hops`` below ``roots``. Raises ConfigError for an edge type that starts at no node of the
        hop before, for it would silently add nothing."""
        slots: list[Slot] = []
        for number, fanouts in enumerate(hops, start=1):
            slots += _hop(number, {str(k): n for k, n in fanouts.items()}, roots, slots)
        return cls(roots=roots, slots=tuple(slots), size=sum(slot.size for slot in slots))

    @property
    def history(self) -> tuple[Slot, ...]:
        """The slots that are cut from the user's history."""
        return tuple(slot for slot in self.slots if slot.place is not None)

    @property
    def places(self) -> int:
        """Entries of all history slots."""
        return sum(slot.size for slot in self.history)

    @cached_property
    def entry_H(self) -> NDArray[np.int64]:
        """Entry of the ROI of each entry of the history slots."""
        parts = [np.arange(slot.start, slot.start + slot.size) for slot in self.history]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def children(self, parent: int) -> tuple[int, ...]:
        """Indices of the slots below slot ``parent``."""
        return tuple(index for index, slot in enumerate(self.slots) if slot.parent == parent)

    @property
    def edge_types(self) -> tuple[str, ...]:
        """The distinct edge types, in order of first use."""
        return tuple(dict.fromkeys(slot.edge_type for slot in self.slots))


class Layouts(NamedTuple):
    """The trees of a request and of an item."""

    request: RoiLayout
    item: RoiLayout

    @classmethod
    def of(cls, roi: RoiConfig) -> Layouts:
        """Raises ConfigError for hops that lead nowhere."""
        return cls(RoiLayout.of(roi.request_hops, REQUEST_ROOTS), RoiLayout.of(roi.item_hops, ITEM_ROOTS))


def node_types(edge_type: str) -> tuple[str, str]:
    """Source and destination type: ``item_item_similar`` goes from item to item."""
    source, destination, *_ = edge_type.split("_")
    return source, destination


def _hop(number: int, fanouts: dict[str, int], roots: tuple[str, ...], slots: list[Slot]) -> list[Slot]:
    """The slots of hop ``number``, behind those of the hops before it."""
    added: list[Slot] = []
    start = sum(slot.size for slot in slots)
    place = 0
    for name, root, parent, node_type, size in _parents(number, roots, slots):
        for edge_type, fanout in fanouts.items():
            source, destination = node_types(edge_type)
            own = edge_type in OWN_EDGES and number == 1 and roots == REQUEST_ROOTS
            if source == node_type and (own or edge_type != RECENT):
                path = f"{name}/{edge_type}"
                where = (start, size * fanout, place if own else None)
                added.append(Slot(path, root, number, edge_type, source, destination, parent, fanout, *where))
                start, place = start + size * fanout, place + own * fanout
    unused = [edge_type for edge_type in fanouts if edge_type not in {slot.edge_type for slot in added}]
    if unused:
        raise ConfigError(
            f"roi: hop {number} of the tree of {'+'.join(roots)} names {unused[0]!r}, but no node before it "
            f"is a {node_types(unused[0])[0]}: remove it or add an edge type that leads there"
        )
    return added


def _parents(number: int, roots: tuple[str, ...], slots: list[Slot]) -> Iterator[tuple[str, int, int | None, str, int]]:
    """(path, root index, slot index, node type, size) of everything that hop ``number`` starts from."""
    if number == 1:
        for index, root in enumerate(roots):
            yield root, index, None, root, 1
    for index, slot in enumerate(slots):
        if slot.hop == number - 1:
            yield slot.name, slot.root, index, slot.dst_type, slot.size


@dataclass(frozen=True)
class Entry:
    """What one entry of a ROI's arrays means."""

    entry: int
    slot: str  # path of edge types from the root
    hop: int
    edge_type: str
    root_type: str
    position: int  # among the neighbours of its parent, 0 is the best
    above: int  # entry of the parent, -1 for a root


def entries(layout: RoiLayout) -> list[Entry]:
    """All entries of the ROIs that ``layout`` describes, in their order."""
    found = []
    for slot in layout.slots:
        start = None if slot.parent is None else layout.slots[slot.parent].start
        for offset in range(slot.size):
            above = -1 if start is None else start + offset // slot.fanout
            root, position = layout.roots[slot.root], offset % slot.fanout
            found.append(Entry(slot.start + offset, slot.name, slot.hop, slot.edge_type, root, position, above))
    return found


def explode_roi(rois: DataFrame, layout: RoiLayout) -> DataFrame:
    """One row per kept neighbour of the ROIs that ``layout`` describes: as_of, root, slot (path of edge types),
    hop, edge_type, parent (node id), position (0 is best), neighbour (node id), relevance (in [-1/3, 1])."""
    schema = "entry int, slot string, hop int, edge_type string, root_type string, position int, above int"
    described = rois.sparkSession.createDataFrame([astuple(entry) for entry in entries(layout)], schema)
    side = "item" if layout.roots == ITEM_ROOTS else "request"
    exploded = F.posexplode(F.arrays_zip("neighbours", "relevance")).alias("entry", "kept")
    kept = rois.where(F.col("side") == side).select("as_of", "root", "user", "query", "neighbours", exploded)
    root_ids = {"user": F.col("user"), "query": F.col("query"), "item": F.col("root").cast("int")}
    parent = F.when(F.col("above") >= 0, F.get("neighbours", F.col("above")))
    for node_type in layout.roots:
        parent = parent.when(F.col("root_type") == node_type, root_ids[node_type])
    return (
        kept.join(F.broadcast(described), on="entry", how="inner")
        .where(F.col("kept.neighbours") >= 0)
        .select(
            "as_of",
            "root",
            "slot",
            "hop",
            "edge_type",
            parent.alias("parent"),
            "position",
            F.col("kept.neighbours").alias("neighbour"),
            (F.col("kept.relevance") / 127).alias("relevance"),
        )
    )
