"""Some of the lists that a night serves, with what speaks for each item; read without Spark from the tables of a night,
and only when its page asks for them.

Legend: a node is (node type, id)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from roilake.lake import Lake, Publication
from roilake.pipelines.retrieval.config import RelevanceWeights, RoiConfig
from roilake.pipelines.retrieval.explain.neighbours import Names, kept_neighbours, span
from roilake.pipelines.retrieval.histories import Histories, history_files
from roilake.pipelines.retrieval.roi import Layouts, RoiLayout
from roilake.pipelines.retrieval.roi.history import microseconds
from roilake.report.formatting import listed

REQUESTS, LENGTH = 4, 5
"""Served requests that are shown, of a user each, and how many items of each list."""
TABLES = ("rois", "recommendations", "nodes", "histories")
PLURALS = {"user": "users", "query": "queries", "item": "items"}
Row = dict[str, Any]
Node = tuple[str, int]


@dataclass(frozen=True)
class Said:
    """What is shown of an item: its label, and words on it."""

    label: str
    words: str


@dataclass(frozen=True)
class Shown:
    """A request that was served: the newest items of its user's history, the neighbours that its region keeps of them,
    and the first items of its list."""

    user: str
    query: str | None
    newest: list[Said]
    kept: list[Said]
    items: list[Said]


@dataclass(frozen=True)
class Served:
    """What ``night`` serves, whether it is published already or not."""

    lake: Lake
    night: Publication

    @property
    def layouts(self) -> Layouts:
        return Layouts.of(RoiConfig.model_validate(json.loads(self.night.config)["roi"]))

    def shown(self, weights: RelevanceWeights) -> list[Shown]:
        """``REQUESTS`` of them, or fewer, in order of their ids; these are hashes, so that nobody chose them. Nothing
        where the night lacks a table. ``weights``: those that its regions were cut by."""
        if not set(TABLES) <= self.night.versions.keys():
            return []
        asked, layouts = self._asked(), self.layouts
        if asked.empty:
            return []
        users = self._nodes(pc.field("id").isin(asked["user"].tolist()) & (pc.field("node_type") == "user"))
        lists = self.rows(
            "recommendations",
            ["user", "query", "rank", "item"],
            pc.field("user").isin(users["key"].tolist()) & (pc.field("rank") <= LENGTH),
        ).sort_values("rank")
        items = self._nodes(pc.field("key").isin(lists["item"].tolist()) & (pc.field("node_type") == "item"))
        regions = self._regions(items["id"].tolist(), layouts.item)
        version = self.night.versions["histories"]
        histories = Histories.read(history_files(self.lake, version, self.night.ds), asked["user"].to_numpy())
        ids = np.unique(np.concatenate([histories.item_E, *asked["neighbours"], asked["query"]])).tolist()
        named = pd.concat([users, items, self._nodes(pc.field("id").isin(ids))])
        names = Names(named.drop_duplicates(["node_type", "id"]))
        seen = _Seen(names, layouts.request, weights, histories, regions, lists)
        return [seen.shown(row) for row in asked.to_dict("records")]

    def _asked(self) -> pd.DataFrame:
        """Rows of ``rois`` of the requests that are shown."""
        end = self.night.ds + timedelta(days=1)
        roots = self.rows("rois", ["root", "user"], pc.field("split") == "serve", side="request", as_of=end)
        first = roots.sort_values("root").drop_duplicates("user").head(REQUESTS)
        columns = ["root", "user", "query", "time", "neighbours", "relevance", "linked", "ages"]
        found = self.rows("rois", columns, pc.field("root").isin(first["root"].tolist()), side="request", as_of=end)
        return found.sort_values("root", ignore_index=True)

    def _nodes(self, where: pc.Expression) -> pd.DataFrame:
        return self.rows("nodes", ["node_type", "id", "key", "terms", "title"], where)

    def _regions(self, items: list[int], layout: RoiLayout) -> dict[int, set[Node]]:
        """What the regions of these items hold, as of the end of the night."""
        end, where = self.night.ds + timedelta(days=1), pc.field("root").isin(items)
        found = self.rows("rois", ["root", "neighbours"], where, side="item", as_of=end)
        return {row["root"]: held(layout, row) for row in found.to_dict("records")}

    def rows(self, table: str, columns: list[str], where: pc.Expression, **partition: object) -> pd.DataFrame:
        """The night's own rows of a table, times as microseconds. Row groups without one are not read."""
        files = self.lake.active_files(table, self.night.versions[table], ds=self.night.ds, **partition)
        parts = [pq.read_table(file.path, columns=columns, filters=where, partitioning=None) for file in files]
        frames = [_plain(part).to_pandas() for part in parts]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _plain(rows: pa.Table) -> pa.Table:
    """Rows with their times as whole numbers."""
    if "time" not in rows.column_names:
        return rows
    return rows.set_column(rows.column_names.index("time"), "time", pa.array(microseconds(rows["time"])))


def held(layout: RoiLayout, row: Row) -> set[Node]:
    """The nodes of a region without its roots."""
    return {
        (slot.dst_type, int(node))
        for slot in layout.slots
        for node in row["neighbours"][slot.start : slot.start + slot.size]
        if node >= 0
    }


@dataclass(frozen=True)
class _Seen:
    """All that is read of the requests that are shown."""

    names: Names
    layout: RoiLayout
    weights: RelevanceWeights
    histories: Histories
    regions: dict[int, set[Node]]
    lists: pd.DataFrame

    def shown(self, row: Row) -> Shown:
        user, query = (self.names.key_of(kind, row[kind]) for kind in ("user", "query"))
        had = self._had(row)
        return Shown(
            user=self.names.label_of("user", str(user)),
            query=None if query is None else self.names.label_of("query", query),
            newest=[Said(self._label(item), f"{age} ago") for item, age in [*had.items()][:LENGTH]],
            kept=self._kept(row),
            items=[Said(self.names.label_of("item", key), self._why(row, key, had)) for key in self._list(user, query)],
        )

    def _label(self, item: int) -> str:
        return self.names.label_of("item", str(self.names.key_of("item", item)))

    def _had(self, row: Row) -> dict[int, str]:
        """How long ago the user last had each item of his history, in words; the newest first."""
        (first,), (last,) = self.histories.spans(np.array([row["user"]]), np.array([row["time"]]))
        events = zip(self.histories.item_E[first:last][::-1], self.histories.time_E[first:last][::-1], strict=True)
        found: dict[int, str] = {}
        for item, then in events:
            found.setdefault(int(item), span((row["time"] - then) / 1e6))
        return found

    def _kept(self, row: Row) -> list[Said]:
        kept = kept_neighbours(self.layout, row, self.names, self.weights)
        own = kept[kept["age"].notna()].drop_duplicates(["node_type", "neighbour"])
        linked = "linked to the query" if row["query"] >= 0 else ""
        return [
            Said(
                entry.label if entry.node_type == "item" else f"{entry.node_type} {entry.label}",
                ", ".join(filter(None, [f"likeness {entry.likeness:.2f}", linked * entry.linked, f"{entry.age} ago"])),
            )
            for entry in own.itertuples()
        ]

    def _list(self, user: str | None, query: str | None) -> list[str]:
        """Keys of the request's items, best first."""
        asked = self.lists["query"].isna() if query is None else self.lists["query"] == query
        return self.lists["item"][asked & (self.lists["user"] == user)].tolist()

    def _why(self, row: Row, key: str, had: dict[int, str]) -> str:
        """What an item of the list has to do with the request."""
        item = self.names.id_of("item", key)
        own, theirs = held(self.layout, row), self.regions.get(item, set())
        query, words = ("query", row["query"]), []
        if item in had:
            words.append(f"had {had[item]} ago")
        if query in theirs or (("item", item) in own and item not in had):
            words.append("linked to the query" if query in theirs else "in the region")
        shared = Counter(kind for kind, _ in own & theirs - {query})
        if shared:
            counts = [f"{count} {PLURALS[kind] if count > 1 else kind}" for kind, count in sorted(shared.items())]
            words.append(f"{listed(counts)} in common")
        return ", ".join(words) or "nothing in common with the region"
