"""The user's side of a request's region: cut from his own events before the request's time.

Both physical plans share this. Legend of shape suffixes: B rows, S entries of a region, H those of history slots, D
dimension, J items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.lake import DataFile
from roilake.pipelines.retrieval.histories import Histories, microseconds
from roilake.pipelines.retrieval.roi.kernel import Asked, Events, Place, Tree, choose, count_repeats
from roilake.pipelines.retrieval.roi.layout import RECENT, RoiLayout
from roilake.pipelines.retrieval.roi.rows import roots
from roilake.pipelines.retrieval.roi.sampling import Sampling, focal, list_keys, rows_of

BASKET = 5
"""Newest items of a history that make up the focal of a request without a query, beside its user."""


@dataclass(frozen=True)
class HistoryGraph:
    """What a window knows of the neighbours in histories: quantised vectors by node type, [N, D], and the queries that
    item j is linked to, ``links_E[link_J1[j] : link_J1[j + 1]]``."""

    vectors: Mapping[str, NDArray[np.int8]]
    link_J1: NDArray[np.int64]
    links_E: NDArray[np.int32]


def read_histories(events: pa.Table, known: Sequence[DataFile]) -> Histories:
    """What the users of a task's requests did, from files of table ``histories``."""
    return Histories.read(known, events.filter(pc.equal(events["side"], "request"))["user"].to_numpy())


def start_trees(
    rows: pa.Table, side: str, sampling: Sampling, histories: Histories, graph: HistoryGraph
) -> tuple[Tree, NDArray[np.int16], NDArray[np.int32]]:
    """What the hops of one side's rows start from, as ``cut_histories`` gives it; items have no history."""
    layout = sampling.layouts[side]
    if side == "request":
        return cut_histories(rows, layout, sampling, histories, graph)
    focal_BD = focal(graph.vectors, layout.roots, roots(rows, side))
    return Tree.empty(len(rows), layout.size, layout.places), focal_BD, np.zeros(len(rows), np.int32)


def cut_histories(
    rows: pa.Table, layout: RoiLayout, sampling: Sampling, histories: Histories, graph: HistoryGraph
) -> tuple[Tree, NDArray[np.int16], NDArray[np.int32]]:
    """Of requests of one window: the regions with their history slots filled, the focals [B, D], and how many of each
    request's positives are in its history [B].

    Neighbours are the distinct ones of the newest ``max_events`` events before the request's time, each at its newest.
    The sampler ``roi`` keeps the top by likeness * Tanimoto + linked + recency, weighted, newest first where equal;
    ``weighted`` the newest, ``uniform`` by a keyed hash. Slots ``user_item_recent`` are the newest for ``roi`` too."""
    roots_BR, time_B = roots(rows, "request"), microseconds(rows["time"])
    user_B, query_B = roots_BR.T
    focal_BD = focal(graph.vectors, layout.roots, roots_BR)
    bare = np.flatnonzero(query_B < 0)
    recent = histories.newest(user_B[bare], time_B[bare], BASKET, sampling.max_events).astype(np.int32)
    for item_B in recent.T:
        focal_BD[bare] += rows_of(graph.vectors["item"], item_B)
    spans = histories.spans(user_B, time_B, sampling.max_events)
    tree = Tree.empty(len(rows), layout.size, layout.places)
    for slot in layout.history:
        newest = slot.edge_type == RECENT and sampling.sampler == "roi"
        sampler = "weighted" if newest else sampling.sampler
        key_B = list_keys(sampling.seed, slot, roots_BR, user_B, sampler)
        asked = Asked(*spans, time_B, query_B, focal_BD, key_B)
        events = _events(histories, graph, slot.dst_type)
        choose(events, asked, slot.fanout, sampler, sampling.weights, tree, Place(slot.start, slot.place or 0))
    positives = rows["positives"].combine_chunks()
    wanted = positives.values.to_numpy(), positives.offsets.to_numpy()
    return tree, focal_BD, count_repeats(*spans, histories.item_E, *wanted)


def _events(histories: Histories, graph: HistoryGraph, node_type: str) -> Events:
    vectors = graph.vectors[node_type]
    if node_type == "query":
        return Events(histories.query_E, histories.time_E, vectors)
    return Events(histories.item_E, histories.time_E, vectors, graph.link_J1, graph.links_E)
