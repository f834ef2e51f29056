"""What a user did that led to a request's region of interest, and on to what was recommended."""

from __future__ import annotations

import pandas as pd

from roilake.pipelines.retrieval.explain.request import Explanation
from roilake.reading import read

COLUMNS = ["time", "event_id", "event_type", "item", "label", "query", "edge_type", "neighbour", "share", "ranks"]


def leading_events(explanation: Explanation, shared: pd.DataFrame) -> pd.DataFrame:
    """The user's own events behind the region: one row for each event and kept edge that sums it up, those of the
    largest share first, then the latest.

    ``time``, ``event_id``, ``event_type``, ``item`` (key), ``label`` (of the item) and ``query`` are the event's;
    ``edge_type`` and ``neighbour`` name the edge from the user to the event's item or query, ``share`` is the attention
    that comes by it, over all places of the region that hold it. ``ranks`` are those of the recommended items whose own
    regions hold the neighbour, or that are it: ``shared`` is what ``shared_nodes`` gives for them.

    Events of others count too, in the weights of all other edges; no row stands for them."""
    kept = explanation.neighbours
    own = kept[(kept["parent_type"] == "user") & (kept["parent"] == explanation.user)]
    edges = own.groupby(["edge_type", "node_type", "neighbour"], as_index=False)["share"].sum()
    ranks = shared.groupby(["node_type", "node"])["rank"].agg(lambda found: tuple(sorted(found)))
    edges["ranks"] = [ranks.get(node, ()) for node in zip(edges["node_type"], edges["neighbour"], strict=True)]
    events = read("events", lake=explanation.lake, ds=explanation.ds, where={"user": explanation.user})
    events["label"] = [explanation.names.label_of("item", key) for key in events["item"]]
    found = [
        events.merge(edges[edges["node_type"] == kind], left_on=kind, right_on="neighbour")
        for kind in ("item", "query")
    ]
    order = ["share", "time", "event_id", "edge_type"]
    return pd.concat(found).sort_values(order, ascending=[False, False, True, True], ignore_index=True)[COLUMNS]
