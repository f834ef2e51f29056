"""ROIs for people: one row per neighbour instead of one array per ROI."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.pipelines.retrieval.roi.layout import ITEM_ROOTS, RoiLayout


def explode_roi(rois: DataFrame, layout: RoiLayout) -> DataFrame:
    """One row per kept neighbour of the ROIs that ``layout`` describes: as_of, root, slot (path of edge types),
    hop, edge_type, parent (node id), place (0 is best), neighbour (node id), relevance (in [-1/3, 1])."""
    side = "item" if layout.roots == ITEM_ROOTS else "request"
    entry = F.posexplode(F.arrays_zip("neighbours", "relevance")).alias("position", "entry")
    kept = rois.where(F.col("side") == side).select("as_of", "root", "user", "query", "neighbours", entry)
    described = kept.join(F.broadcast(_positions(rois, layout)), on="position", how="inner")
    root_ids = {"user": F.col("user"), "query": F.col("query"), "item": F.col("root").cast("int")}
    parent = F.when(F.col("above") >= 0, F.get("neighbours", F.col("above")))
    for node_type in layout.roots:
        parent = parent.when(F.col("root_type") == node_type, root_ids[node_type])
    return described.where(F.col("entry.neighbours") >= 0).select(
        "as_of",
        "root",
        "slot",
        "hop",
        "edge_type",
        parent.alias("parent"),
        "place",
        F.col("entry.neighbours").alias("neighbour"),
        (F.col("entry.relevance") / 127).alias("relevance"),
    )


def _positions(rois: DataFrame, layout: RoiLayout) -> DataFrame:
    schema = "position int, slot string, hop int, edge_type string, root_type string, place int, above int"
    return rois.sparkSession.createDataFrame([astuple(place) for place in positions(layout)], schema)


@dataclass(frozen=True)
class Position:
    """What one entry of a ROI's arrays means."""

    position: int
    slot: str  # path of edge types from the root
    hop: int
    edge_type: str
    root_type: str
    place: int  # 0 is the best of its parent
    above: int  # position of the parent, -1 for a root


def positions(layout: RoiLayout) -> list[Position]:
    """All entries of the ROIs that ``layout`` describes, in their order."""
    found = []
    for slot in layout.slots:
        start = None if slot.parent is None else layout.slots[slot.parent].start
        for offset in range(slot.size):
            above = -1 if start is None else start + offset // slot.fanout
            root, place = layout.roots[slot.root], offset % slot.fanout
            found.append(Position(slot.start + offset, slot.name, slot.hop, slot.edge_type, root, place, above))
    return found
