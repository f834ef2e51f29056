"""What a request's region of interest has in common with those of the items that it was recommended."""

from __future__ import annotations

import pandas as pd

from roilake.pipelines.retrieval.explain.neighbours import Names, kept_neighbours
from roilake.pipelines.retrieval.explain.request import Explanation
from roilake.pipelines.retrieval.roi import Layouts
from roilake.reading import read


def recommended(explanation: Explanation, top: int = 10) -> pd.DataFrame:
    """The request's ``top`` items, best first, by the model that serves the night: rank, item, label, score."""
    where = {"user": explanation.user, "query": explanation.query, "rank": range(1, top + 1)}
    columns = ["rank", "item", "score"]
    rows = read("recommendations", lake=explanation.lake, ds=explanation.ds, where=where, columns=columns).sort_values(
        "rank", ignore_index=True
    )
    rows.insert(2, "label", [explanation.names.label_of("item", key) for key in rows["item"]])
    return rows


def first_lists(recommendations: pd.DataFrame, names: Names, requests: int = 8) -> pd.DataFrame:
    """The lists of the first users' first queries: user, query, and a column of item labels for each rank."""
    firsts = recommendations.sort_values(["user", "query"])[["user", "query"]].drop_duplicates("user")
    chosen = recommendations.merge(firsts.head(requests), on=["user", "query"])
    chosen["label"] = [names.label_of("item", key) for key in chosen["item"]]
    return chosen.pivot(index=["user", "query"], columns="rank", values="label").reset_index()


def shared_nodes(explanation: Explanation, items: pd.DataFrame) -> pd.DataFrame:
    """One row per item and node that both regions hold, roots included: rank, item, node_type, node (key), label,
    path and path_of_item: where it lies in the request's and in the item's region (for a root, its type).

    ``items`` has the columns rank and item."""
    own, item_layout = _held(explanation), Layouts.of(explanation.roi).item
    names = explanation.names
    ranks = {names.id_of("item", key): rank for rank, key in zip(items["rank"], items["item"], strict=True)}
    where = {"side": "item", "as_of": explanation.as_of, "root": list(ranks)}
    parts = []
    for row in read("rois", lake=explanation.lake, ds=explanation.ds, where=where).to_dict("records"):
        key = names.key_of("item", row["root"])
        held = _nodes(kept_neighbours(item_layout, row, names, explanation.roi.weights), [("item", key, "item")])
        both = own.merge(held[["node_type", "node", "path"]], on=["node_type", "node"], suffixes=("", "_of_item"))
        labels = [names.label_of(*node) for node in zip(both["node_type"], both["node"], strict=True)]
        parts.append(both.assign(rank=ranks[row["root"]], item=key, label=labels))
    columns = ["rank", "item", "node_type", "node", "label", "path", "path_of_item"]
    found = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    return found[columns].sort_values(["rank", "node_type", "node"], ignore_index=True)


def _held(explanation: Explanation) -> pd.DataFrame:
    roots = [("user", explanation.user, "user"), ("query", explanation.query, "query")]
    return _nodes(explanation.neighbours, [root for root in roots if root[1] is not None])


def _nodes(neighbours: pd.DataFrame, roots: list[tuple[str, str | None, str]]) -> pd.DataFrame:
    """The distinct nodes of a region: node_type, node, and the first path on which each lies."""
    first = pd.DataFrame(roots, columns=["node_type", "node", "path"])
    rest = neighbours.rename(columns={"neighbour": "node"})[["node_type", "node", "path"]]
    return pd.concat([first, rest]).drop_duplicates(["node_type", "node"])
