"""A request's region of interest drawn from left to right: its roots, their neighbours hop by hop, and what they share
with the items that were recommended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from roilake.pipelines.retrieval.explain.request import Explanation
from roilake.report.formatting import plain
from roilake.report.plots import COLOURS, INK, MUTED, draw

COLUMN, LABEL, GAP = 2.0, 1.45, 1.6
"""Widths of a column and of its labels, and the rows left free above a group."""
PER_HOP = 28
Spot = tuple[float, float]


@dataclass(frozen=True)
class _Drawing:
    """Where each node lies: neighbours by entry of the ROI, roots by node type, items by rank."""

    neighbours: pd.DataFrame
    spots: Mapping[int, Spot]
    roots: Mapping[str, Spot]
    items: Mapping[int, Spot]
    colours: Mapping[str, str]


def draw_request(explanation: Explanation, items: pd.DataFrame, shared: pd.DataFrame) -> str:
    """An SVG: lines as thick as the relevance, dots as large as the share of attention, a colour for each edge type.

    Thin lines lead on to the items (``recommended``) whose own regions hold the neighbour (``shared_nodes``), strong
    ones to an item that is itself a neighbour. Of a hop, the 28 neighbours with the largest share are drawn."""
    drawing = _arrange(explanation, items)
    drawn = (*drawing.spots.values(), *drawing.items.values(), *drawing.roots.values())
    rows = max(-y for _, y in drawn) + 2

    def paint(axes: Axes) -> None:
        axes.axis("off")
        _paint_items(axes, drawing, items, shared)
        _paint_neighbours(axes, drawing)
        _paint_heads(axes, drawing, explanation.relations)
        _paint_roots(axes, drawing, explanation)
        axes.set_xlim(-0.35, max(x for x, _ in drawn) + LABEL)
        axes.set_ylim(-rows, GAP)

    alt = f"region of interest of user {explanation.user} with query {explanation.query}"
    return draw(paint, 0.21 * rows + 0.4, 9.0, alt=alt)


def _arrange(explanation: Explanation, items: pd.DataFrame) -> _Drawing:
    """Where each neighbour and item is drawn: a column a hop, the strongest of each hop, by path."""
    best = explanation.neighbours.sort_values("share", ascending=False).groupby("hop").head(PER_HOP)
    kept = best.sort_values("entry")
    spots: dict[int, Spot] = {}
    for hop, column in kept.groupby("hop"):
        y = 0.0
        for _, group in column.groupby("path", sort=False):
            for entry in group["entry"]:
                spots[entry] = (hop * COLUMN - 0.9, y)
                y -= 1
            y -= GAP
    roots = {kind: (0.0, y) for kind, y in _root_heights(explanation, kept, spots)}
    height, last = -min((y for _, y in spots.values()), default=0.0), kept["hop"].max() if len(kept) else 0
    step = max(1.0, height / max(len(items) - 1, 1))
    lists = {rank: ((last + 1) * COLUMN - 0.7, -step * row) for row, rank in enumerate(items["rank"])}
    colours = dict(zip(explanation.neighbours["edge_type"].unique(), COLOURS, strict=False))
    return _Drawing(kept, spots, roots, lists, colours)


def _root_heights(
    explanation: Explanation, kept: pd.DataFrame, spots: Mapping[int, Spot]
) -> Iterator[tuple[str, float]]:
    """Each root in the middle of its neighbours; one without any below all."""
    below = min((y for _, y in spots.values()), default=0.0) - 2 * GAP
    for kind in ["user"] if explanation.query is None else ["user", "query"]:
        first = kept[(kept["hop"] == 1) & (kept["parent_type"] == kind)]
        ys = [spots[entry][1] for entry in first["entry"]] or [below]
        yield kind, (min(ys) + max(ys)) / 2
        below -= 2 * GAP if first.empty else 0


def _paint_neighbours(axes: Axes, drawing: _Drawing) -> None:
    """Each neighbour's dot and label, and the line from its parent."""
    most = drawing.neighbours["share"].groupby(drawing.neighbours["hop"]).transform("max")
    sizes = 8 + 150 * drawing.neighbours["share"] / most
    width = 4.5 / max(1.0, drawing.neighbours["relevance"].max())
    for row, size in zip(drawing.neighbours.itertuples(), sizes, strict=True):
        x, y = drawing.spots[row.entry]
        colour = drawing.colours[row.edge_type]
        above = drawing.roots.get(row.parent_type) if row.above < 0 else drawing.spots.get(row.above)
        if above is not None:
            start = above if row.above < 0 else (above[0] + LABEL, above[1])
            _curve(axes, start, (x, y), color=colour, lw=0.4 + width * max(row.relevance, 0), alpha=0.3)
        axes.scatter([x], [y], s=size, color=colour, zorder=5, lw=0)
        axes.annotate(_short(row.label), (x, y), (9, 0), textcoords="offset points", va="center", zorder=6, size=8)


def _paint_heads(axes: Axes, drawing: _Drawing, relations: pd.DataFrame) -> None:
    """The name of each group; at hop 1 with what the parent gives to its edge type."""
    weights = relations.set_index(["path", "relation"])["weight"]
    for path, group in drawing.neighbours.groupby("path", sort=False):
        parent, edge_type = str(path).rsplit("/", 1)
        x, y = drawing.spots[group["entry"].iloc[0]]
        share = f"  {weights[parent, edge_type]:.0%}" if group["hop"].iloc[0] == 1 else ""
        name = edge_type.replace("_", " → ", 1).replace("_", " ")
        axes.text(
            x - 0.06, y + 0.95, name + share, color=drawing.colours[edge_type], weight="bold", size=8, va="center"
        )


def _paint_roots(axes: Axes, drawing: _Drawing, explanation: Explanation) -> None:
    weights = explanation.relations.set_index(["path", "relation"])["weight"]
    for kind, (x, y) in drawing.roots.items():
        axes.scatter([x], [y], s=190, color=INK, zorder=5, lw=0)
        key = str(explanation.user if kind == "user" else explanation.query)
        name = explanation.names.label_of(kind, key)
        box = {"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1}
        axes.text(x - 0.12, y + 1.1, f"{kind} {_short(name)}", weight="bold", zorder=6, bbox=box)
        axes.text(x - 0.12, y - 1.7, f"own {weights[kind, 'own']:.0%}", color=MUTED, size=8, zorder=6)


def _paint_items(axes: Axes, drawing: _Drawing, items: pd.DataFrame, shared: pd.DataFrame) -> None:
    """The list of items, and the lines to them from neighbours that their own regions hold."""
    for row in items.itertuples():
        x, y = drawing.items[row.rank]
        axes.scatter([x], [y], s=26, color=INK, zorder=5, lw=0)
        axes.annotate(
            f"{row.rank}  {_short(row.label)}", (x, y), (9, 0), textcoords="offset points", va="center", size=8
        )
    if drawing.items:
        x, y = drawing.items[min(drawing.items)]
        axes.text(x - 0.06, y + 0.95, "recommended", color=INK, weight="bold", size=8, va="center")
    for row in _links(drawing, shared).itertuples():
        (x, y), colour, same = (drawing.spots[row.entry], drawing.colours[row.edge_type], row.path_of_item == "item")
        style = {"lw": 1.8, "alpha": 0.9} if same else {"lw": 0.8, "alpha": 0.35}
        axes.scatter([x + LABEL], [y], s=5, color=colour, lw=0)
        _curve(axes, (x + LABEL, y), drawing.items[row.rank], color=colour, zorder=3 if same else 1, **style)


def _links(drawing: _Drawing, shared: pd.DataFrame) -> pd.DataFrame:
    """Drawn neighbours that an item's region holds: entry, edge_type, rank, path_of_item. A node in several
    entries counts at its first."""
    nodes = drawing.neighbours.rename(columns={"neighbour": "node"})
    first = nodes.drop_duplicates(["node_type", "node"])[["node_type", "node", "entry", "edge_type"]]
    return shared.merge(first, on=["node_type", "node"])


def _curve(axes: Axes, start: Spot, end: Spot, **style: Any) -> None:
    """A line that leaves and arrives level."""
    ts = [k / 24 for k in range(25)]
    ease = [t * t * (3 - 2 * t) for t in ts]
    xs = [start[0] + (end[0] - start[0]) * t for t in ts]
    ys = [start[1] + (end[1] - start[1]) * e for e in ease]
    axes.plot(xs, ys, solid_capstyle="round", **style)


def _short(label: str) -> str:
    return plain(label, 30)
