"""What came in: row counts against an earlier night, new nodes, nulls and rejected rows."""

from __future__ import annotations

from dataclasses import dataclass

from roilake.report.night import Night
from roilake.report.words import number, percent


@dataclass(frozen=True)
class Count:
    """A count of this night beside that of an earlier one (None where there is none)."""

    name: str
    now: int
    before: int | None

    @property
    def change(self) -> str:
        """In per cent, or as a factor where that reads better; empty where there is nothing to hold against."""
        if not self.before or self.now == self.before:
            return "" if self.before != self.now or self.before is None else "same"
        ratio = self.now / self.before
        if ratio >= 3:
            return f"× {ratio:.1f}"
        if 0 < ratio < 0.1:
            return f"÷ {1 / ratio:.0f}"
        return f"{'+' if ratio > 1 else '−'}{percent(abs(ratio - 1), 1 if abs(ratio - 1) < 0.1 else 0)}"


def table_counts(night: Night, before: Night | None) -> list[Count]:
    """The night's own rows of each table."""
    earlier = before.rows if before else {}
    return [Count(table, rows, earlier.get(table)) for table, rows in sorted(night.rows.items())]


def graph_counts(night: Night, before: Night | None) -> list[Count]:
    """Nodes and edges of the graph at the end of the night, by type."""
    nodes, edges = (before.nodes, before.edges) if before else ({}, {})
    return [
        *(Count(f"{kind} nodes", count, nodes.get(kind)) for kind, count in night.nodes.items()),
        *(Count(edge_label(kind), count, edges.get(kind)) for kind, count in night.edges.items()),
    ]


def edge_label(edge_type: str) -> str:
    """``item_item_similar`` as ``item → item, similar``."""
    return edge_type.replace("_", " → ", 1).replace("_", ", ")


def null_shares(night: Night) -> list[tuple[str, str]]:
    """Columns of the night's events with nulls: how many, and what share."""
    rows = night.rows.get("events", 0)
    return [
        (name, f"{number(count)} ({percent(count / rows, 1)})") for name, count in night.nulls.items() if rows
    ]
