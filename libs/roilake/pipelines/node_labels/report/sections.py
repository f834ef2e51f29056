"""The graph, its labels and what was predicted, on the page of a night of node labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.compute as pc

from roilake.lake import Lake, Publication
from roilake.pipelines.node_labels.metrics import ACCURACY, HOMOPHILY
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


Examples = tuple[Mapping[str, Any], ...]
_COLUMNS = ("node_type", "key", "label", "probability", "known", "split")


def read_examples(lake: Lake, night: Publication) -> Examples:
    """The most and the least certain predictions of nodes whose label nobody knows or no model has seen."""
    if "node_predictions" not in night.versions:
        return ()
    version, where = night.versions["node_predictions"], {"ds": night.ds}
    rows = lake.to_arrow("node_predictions", version, filters=where, columns=_COLUMNS)
    unseen = rows.filter(~pc.field("split").isin(["train", "validation"]))
    order, half = unseen.sort_by([("probability", "descending"), ("key", "ascending")]), EXAMPLES // 2
    parts = [order] if order.num_rows <= EXAMPLES else [order.slice(0, half), order.slice(order.num_rows - half)]
    return tuple(row for part in parts for row in part.to_pylist())


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
        examples=data.night.own,
        model=data.night.default_model,
        sure=percent(data.night.config["scoring"]["sure"]),
        shares=_by_homophily(data),
    )


def _figures(data: ReportData) -> Iterator[tuple[str, str]]:
    for table, name in (("graph_nodes", "nodes"), ("graph_edges", "edges"), ("graph_features", "features")):
        yield name, number(data.night.rows.get(table, 0))
    evaluated = data.night.run("evaluate_node_labels")
    share = evaluated["details"].get("homophily") if evaluated else None
    if share is not None:
        yield "labelled neighbours of a node that have its own label", percent(share, 1)


def _by_homophily(data: ReportData) -> dict[str, Any] | None:
    """Accuracy of each model by the share of a node's labelled neighbours that have its own label, the nodes of each
    part, and who is best on it."""
    night, prefix = data.night, f"{HOMOPHILY}="
    cuts = sorted(name for split, name in night.metrics if split == night.on.split and name.startswith(prefix))
    found = {
        name: {model: each[ACCURACY] for model, each in night.metrics[night.on.split, name].items()} for name in cuts
    }
    found = {name: each for name, each in found.items() if any(one["n"] for one in each.values())}
    if not found:
        return None
    known = {name: [one["value"] for one in each.values() if one["value"] is not None] for name, each in found.items()}
    nodes = {name: max(one["n"] for one in each.values()) for name, each in found.items()}
    columns = [
        {"name": name.removeprefix(prefix), "n": nodes[name], "best": max(known[name], default=None)} for name in found
    ]
    whole = night.measures
    order = sorted(whole, key=lambda model: -(whole[model].get(ACCURACY, {}).get("value") or 0.0))
    rows = [{"model": model, "measures": [found[name].get(model) for name in found]} for model in order]
    return {"columns": columns, "rows": rows}


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
