"""The graph of a night: what came in, and how large it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from roilake.lake import TABLES, Lake, Publication, count_by, count_nulls
from roilake.pipelines.retrieval.report.served import Served
from roilake.report import ReportData, Section, render_section
from roilake.report.figures import Count, counts
from roilake.report.formatting import listed, number, percent, plural
from roilake.report.headline import against
from roilake.report.night import NightData

FANOUT = "reports/fanout.json"
"""Points of the fan-out curve (model, fanout, seconds, auc), where a benchmark left them."""


@dataclass(frozen=True)
class Graph:
    """``nodes`` and ``edges`` at the end of the night by type, and ``new`` nodes, which the night before did not have;
    ``nulls`` among the night's events by column; ``rois`` counts regions by (side, split), an item's split being that
    of the window it was cut for; ``served`` reads what the night serves when asked."""

    nodes: Mapping[str, int] = field(default_factory=dict)
    edges: Mapping[str, int] = field(default_factory=dict)
    new: Mapping[str, int] = field(default_factory=dict)
    nulls: Mapping[str, int] = field(default_factory=dict)
    rois: Mapping[tuple[str, str], int] = field(default_factory=dict)
    fanout: tuple[dict[str, Any], ...] = ()
    served: Served | None = None


def read_graph(lake: Lake, night: Publication) -> Graph:
    """Count them in the night's tables."""
    own = {"ds": night.ds}
    return Graph(
        nodes=_by_type(lake, night, "nodes", "node_type", own),
        edges=_by_type(lake, night, "edges", "edge_type", _latest_graph(lake, night)),
        new=_new_nodes(lake, night),
        nulls=_nulls(lake, night),
        rois=_rois(lake, night),
        fanout=tuple(json.loads(lake.files.read_text(FANOUT))) if lake.files.exists(FANOUT) else (),
        served=Served(lake, night),
    )


def _new_nodes(lake: Lake, night: Publication) -> dict[str, int]:
    """Nodes by type that the night published before did not have, whichever pipeline gave their ids."""
    now, last = _node_ids(lake, night), lake.publication(night.pipeline, before=night.ds)
    known = _node_ids(lake, last) if last else {}
    return {kind: len(np.setdiff1d(ids, known.get(kind, ids[:0]), assume_unique=True)) for kind, ids in now.items()}


def _node_ids(lake: Lake, night: Publication) -> dict[str, NDArray[np.int32]]:
    """Ids of the night's own nodes by type."""
    if "nodes" not in night.versions:
        return {}
    version, columns = night.versions["nodes"], ["node_type", "id"]
    rows = lake.to_arrow("nodes", version, filters={"ds": night.ds}, columns=columns)
    kinds = sorted(pc.unique(rows["node_type"]).to_pylist())
    return {kind: rows.filter(pc.equal(rows["node_type"], kind))["id"].to_numpy() for kind in kinds}


def _by_type(lake: Lake, night: Publication, table: str, column: str, where: Mapping[str, object]) -> dict[str, int]:
    if table not in night.versions:
        return {}
    found = count_by(lake, table, night.versions[table], (column,), filters=where)
    return {key: count for (key,), count in sorted(found.items())}


def _latest_graph(lake: Lake, night: Publication) -> dict[str, object]:
    """The graph as of the end of the night, among those as of its windows' starts."""
    files = lake.active_files("edges", night.versions["edges"], ds=night.ds) if "edges" in night.versions else []
    starts = [file.partition["as_of"] for file in files]
    return {"ds": night.ds, "as_of": max(starts, default=str(night.ds))}


def _nulls(lake: Lake, night: Publication) -> dict[str, int]:
    """By column that has any."""
    if "events" not in night.versions:
        return {}
    found = count_nulls(lake, "events", night.versions["events"], filters={"ds": night.ds})
    return {name: found[name] for name in TABLES["events"].names if found.get(name)}


def _rois(lake: Lake, night: Publication) -> dict[tuple[str, str], int]:
    """Regions by (side, split); an item's split is that of the window it was cut for."""
    if "rois" not in night.versions:
        return {}
    keys = ("side", "as_of", "split")
    found = count_by(lake, "rois", night.versions["rois"], keys, filters={"ds": night.ds})
    split_of = {as_of: split for side, as_of, split in found if side == "request"}
    regions: dict[tuple[str, str], int] = {}
    for (side, as_of, _), count in sorted(found.items()):
        key = side, split_of.get(as_of, "unused")
        regions[key] = regions.get(key, 0) + count
    return regions


def volume(data: ReportData) -> str:
    """Events and new nodes."""
    night, graph = data.night, data.night.own
    new = listed([plural(graph.new.get(kind, 0), f"new {kind}") for kind in ("user", "item")])
    return f"{plural(night.rows.get('events', 0), 'event')} came in{against(data, 'events')}, with {new}"


def graph_section(data: ReportData) -> Section | None:
    """Events, new nodes and nulls, and the graph's nodes and edges by type."""
    night, other = data.night, data.since or data.before
    return render_section(
        "Events and graph",
        "graph.html.j2",
        package=__package__,
        came_in=came_in(night),
        counts=graph_counts(night.own, other.own if other else Graph()),
        other=other,
    )


def came_in(night: NightData) -> list[tuple[str, str]]:
    """Figures of the night's own events and nodes, with what each is."""
    graph, events = night.own, night.rows.get("events", 0)
    return [
        ("events", number(events)),
        *(
            (f"new {kind} nodes", f"{number(graph.new.get(kind, 0))} of {number(count)}")
            for kind, count in graph.nodes.items()
        ),
        *(
            (f"events without {name}", f"{number(count)} ({percent(count / events, 1)})")
            for name, count in graph.nulls.items()
            if events
        ),
        *seen_items(night),
        *labels(night),
    ]


def seen_items(night: NightData) -> Iterator[tuple[str, str]]:
    """How often users choose again what they had before, and what the evaluation made of that."""
    run = night.run("evaluate_models")
    details = run["details"] if run else {}
    found = details.get("seen")
    if found and found["positives"]:
        share = f"{percent(found['share'], 1)}: seen items are "
        left_out = f"left out ({plural(details['requests_left_out'], 'request')} with them)"
        yield "choices of what the user had before", share + (left_out if found["rule"] == "drop" else "kept")


def labels(night: NightData) -> Iterator[tuple[str, str]]:
    """How many nodes have a label of pipeline ``node_labels`` as a field, known or predicted."""
    run = night.run("build_graph")
    found = run["details"].get("labelled") if run else None
    if found:
        name = night.config["graph"]["labels"]["field"]
        for source, count in sorted(found.items()):
            yield f"nodes with {name}, {source}", number(count)


def graph_counts(graph: Graph, before: Graph) -> list[Count]:
    """Nodes and edges of the graph at the end of the night, by type."""
    return [
        *counts(*({f"{kind} nodes": count for kind, count in one.nodes.items()} for one in (graph, before))),
        *counts(*({edge_label(kind): count for kind, count in one.edges.items()} for one in (graph, before))),
    ]


def edge_label(edge_type: str) -> str:
    """``item_item_similar`` as ``item → item, similar``."""
    return edge_type.replace("_", " → ", 1).replace("_", ", ")
