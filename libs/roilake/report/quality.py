"""What came in: row counts against an earlier night, new nodes, nulls and rejected rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roilake.report.formatting import number, percent
from roilake.report.night import Night, Row
from roilake.runtime.kinds import GRAPH


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


SPLITS = {"train": "train", "validation": "validation", "test": "test", "unbiased": "drawn at random"}


def traffic(night: Night, split: str) -> tuple[int, int, int]:
    """Impressions of a split, and how many of them were clicked and converted."""
    own = {(click, bought): count for (name, click, bought), count in night.shown.items() if name == split}
    clicked = sum(count for (click, _), count in own.items() if click == 1)
    return sum(own.values()), clicked, sum(count for (_, bought), count in own.items() if bought == 1)


def came_in(night: Night) -> list[tuple[str, str]]:
    """What the night brought, in words: events and nodes, or impressions by split."""
    if night.kind is GRAPH:
        new = [
            (f"new {kind} nodes", f"{number(night.new.get(kind, 0))} of {number(count)}")
            for kind, count in night.nodes.items()
        ]
        nulls = [(f"events without {name}", share) for name, share in null_shares(night)]
        return [("events", number(night.rows.get("events", 0))), *new, *nulls]
    found = [(title, *traffic(night, split)) for split, title in SPLITS.items()]
    return [
        part
        for title, rows, clicked, bought in found
        if rows
        for part in (
            (f"impressions, {title}", number(rows)),
            *([(f"clicks, {title}", f"{number(clicked)} ({percent(clicked / rows, 1)})")] if clicked else []),
            *(
                [(f"conversions, {title}", f"{number(bought)} ({percent(bought / clicked, 1)} of clicks)")]
                if clicked
                else []
            ),
        )
    ]


def teachers(night: Night) -> list[Row]:
    """What each teacher of conversion models came to, and what it said of unclicked impressions: ``name, auc,
    domain_auc, domain_loss, rows, mean_probability, mean_disagreement, disagreement_90``; None where nobody said, as of
    the disagreement of a teacher with one head. The name of an ensemble tells who has how much say."""
    runs = [night.run(job) for job in ("train_cvr_teacher", "write_pseudo_labels")]
    trained, labels = (run["details"] if run else {} for run in runs)
    said, ensembles = labels.get("teachers", {}), labels.get("ensembles", {})
    alone = [
        _teacher(name, figures, said.get(name, {})) for name, figures in trained.get("models", {}).items()
    ]
    return alone + [_teacher(_say(name, members), {}, said[name]) for name, members in ensembles.items()]


def _say(name: str, members: Mapping[str, float]) -> str:
    heard = sorted(members.items(), key=lambda member: -member[1])
    told = ", ".join(f"{member} {percent(say)}" for member, say in heard if say >= 0.01)
    return f"{name} ({told})"


def _teacher(name: str, figures: Row, said: Row) -> Row:
    terms, metrics = figures.get("terms", {}), figures.get("metrics", {})
    losses = [terms.get(f"domain_{side}") for side in ("clicked", "unclicked")]
    return {
        "name": name,
        "auc": metrics.get("auc"),
        "domain_auc": metrics.get("domain_auc"),
        "domain_loss": None if None in losses else sum(losses) / 2,
        **{key: said.get(key) for key in ("rows", "mean_probability")},
        **{key: said.get(key) or None for key in ("mean_disagreement", "disagreement_90")},
    }


def null_shares(night: Night) -> list[tuple[str, str]]:
    """Columns of the night's events with nulls: how many, and what share."""
    rows = night.rows.get("events", 0)
    return [
        (name, f"{number(count)} ({percent(count / rows, 1)})") for name, count in night.nulls.items() if rows
    ]
