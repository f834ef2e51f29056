"""The graph, its labels and what was predicted, on the page of a night of node labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from roilake.lake import Lake, Publication
from roilake.report import ReportData, Section, Texts, render_section
from roilake.report.formatting import number, percent, plural
from roilake.report.headline import against

EXAMPLES = 8
TEXTS = Texts(
    tiles="{own}, with 95 % intervals over nodes; level means that the paired interval of the difference holds 0.",
    models="The best value of a column is bold. No model has seen the label of a test node.",
    slices="By the share of a node's labelled neighbours that have its own label (two steps away where none has one), "
    "and by its number of neighbours.",
)


@dataclass(frozen=True)
class LabelFigures:
    """``alike``: the share of the edges between labelled nodes whose ends have one label; ``examples``: the most and
    the least certain predictions of nodes whose label nobody knows or no model has seen."""

    alike: float | None
    examples: tuple[Mapping[str, Any], ...]


def read_labels(lake: Lake, night: Publication) -> LabelFigures:
    """From the tables of the night, as far as it has them."""
    if not {"graph_nodes", "graph_edges", "node_predictions"} <= night.versions.keys():
        return LabelFigures(None, ())
    read = {name: lake.to_arrow(name, night.versions[name], filters={"ds": night.ds}) for name in _TABLES}
    label = read["graph_nodes"].sort_by("node")["label"]
    ends = [pc.take(label, read["graph_edges"][name]) for name in ("src", "dst")]
    alike = pc.mean(pc.equal(*ends).cast("float64")).as_py()  # of an edge with an unknown label: null, and no part
    unseen = read["node_predictions"].filter(~pc.field("split").isin(["train", "validation"]))
    order = unseen.sort_by([("probability", "descending"), ("key", "ascending")]).to_pylist()
    shown = order if len(order) <= EXAMPLES else [*order[: EXAMPLES // 2], *order[-EXAMPLES // 2 :]]
    return LabelFigures(alike, tuple(shown))


_TABLES = ("graph_nodes", "graph_edges", "node_predictions")


def volume(data: ReportData) -> str:
    """Nodes, edges and known labels."""
    night = data.night
    nodes, edges = plural(night.rows.get("graph_nodes", 0), "node"), plural(night.rows.get("graph_edges", 0), "edge")
    known = sum(count for counts in _labels(data).values() for count in counts.values())
    return f"A graph of {nodes}{against(data, 'graph_nodes')} and {edges}; {plural(known, 'label')} known"


def labels_section(data: ReportData) -> Section | None:
    """The graph, how many nodes have which label, what was predicted, and examples."""
    scored = data.night.run("score_nodes")
    if scored is None:
        return None
    return render_section(
        "Labels",
        "labels.html.j2",
        package=__package__,
        figures=list(_figures(data)),
        labels=list(_rows(data, scored["details"]["labels"])),
        examples=data.night.own.examples,
        model=data.night.default_model,
        sure=percent(data.night.config["scoring"]["sure"]),
    )


def _figures(data: ReportData) -> Iterator[tuple[str, str]]:
    for table, name in (("graph_nodes", "nodes"), ("graph_edges", "edges"), ("graph_features", "features")):
        yield name, number(data.night.rows.get(table, 0))
    if data.night.own.alike is not None:
        yield "edges between nodes of one label (of those whose labels are known)", percent(data.night.own.alike, 1)


def _labels(data: ReportData) -> Mapping[str, Mapping[str, int]]:
    """Nodes by split and known label."""
    built = data.night.run("build_label_graph")
    found: Mapping[str, Mapping[str, int]] = built["details"].get("labels", {}) if built else {}
    return found


def _rows(data: ReportData, given: Mapping[str, Mapping[str, int]]) -> Iterator[dict[str, Any]]:
    """A row a label: nodes that have it by split, and those that were given it."""
    known = _labels(data)
    for label in sorted({label for counts in (*known.values(), *given.values()) for label in counts}):
        splits = {split: known.get(split, {}).get(label, 0) for split in ("train", "validation", "test")}
        yield {"label": label, **splits, **{name: counts.get(label, 0) for name, counts in given.items()}}
