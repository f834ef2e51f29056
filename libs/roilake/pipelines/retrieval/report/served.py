"""Some of the lists that a night serves, with what speaks for each item; read without Spark from the tables of a night,
and only when its page asks for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from roilake.lake import Lake, Publication
from roilake.pipelines.retrieval.config import RelevanceWeights, RoiConfig
from roilake.pipelines.retrieval.explain.neighbours import Names, kept_neighbours, span
from roilake.pipelines.retrieval.histories import Histories, history_files, microseconds
from roilake.pipelines.retrieval.roi import Layouts, RoiLayout
from roilake.report.formatting import listed

REQUESTS, LENGTH, KEPT = 4, 5, 8
"""Served requests that are shown, of a user each, and how many items of each list and neighbours of a region."""
TABLES = ("rois", "recommendations", "nodes", "histories", "adjacency")
BESIDE = {"item_item": "chosen beside", "item_item_similar": "described like", "item_item_known": "known like"}
"""Edge types from items that are kept of a history to items of a list, in words."""
Row = dict[str, Any]
Links = dict[tuple[str, int], set[int]]


@dataclass(frozen=True)
class Said:
    """What is shown of an item: its label, and words on it."""

    label: str
    words: str


@dataclass(frozen=True)
class Shown:
    """A request that was served: the newest items of its user's history, the first of the ``held`` neighbours that its
    region keeps of them, and the first items of its list."""

    user: str
    query: str | None
    newest: list[Said]
    kept: list[Said]
    held: int
    items: list[Said]


@dataclass(frozen=True)
class Served:
    """What ``night`` serves, whether it is published already or not."""

    lake: Lake
    night: Publication

    @property
    def layouts(self) -> Layouts:
        return Layouts.of(RoiConfig.model_validate(json.loads(self.night.config)["roi"]))

    @property
    def _end(self) -> date:
        return self.night.ds + timedelta(days=1)

    def shown(self, weights: RelevanceWeights) -> list[Shown]:
        """``REQUESTS`` of them, or fewer, in order of their ids; these are hashes, so that nobody chose them. Nothing
        where the night lacks a table. ``weights``: those that its regions were cut by."""
        if not set(TABLES) <= self.night.versions.keys():
            return []
        asked, layout = self._asked(), self.layouts.request
        if asked.empty:
            return []
        users = self._nodes(pc.field("id").isin(asked["user"].tolist()) & (pc.field("node_type") == "user"))
        lists = self.rows(
            "recommendations",
            ["user", "query", "rank", "item"],
            pc.field("user").isin(users["key"].tolist()) & (pc.field("rank") <= LENGTH),
        ).sort_values("rank")
        items = self._nodes(pc.field("key").isin(lists["item"].tolist()) & (pc.field("node_type") == "item"))
        version = self.night.versions["histories"]
        histories = Histories.read(history_files(self.lake, version, self.night.ds), asked["user"].to_numpy())
        ids = np.unique(np.concatenate([histories.item_E, *asked["neighbours"], asked["query"]])).tolist()
        named = pd.concat([users, items, self._nodes(pc.field("id").isin(ids))])
        names = Names(named.drop_duplicates(["node_type", "id"]))
        links = self._links(items["id"].tolist(), ids)
        read = _Read(names, layout, weights, histories, lists, links)
        return [read.shown(row) for row in asked.to_dict("records")]

    def _asked(self) -> pd.DataFrame:
        """Rows of ``rois`` of the requests that are shown."""
        where = {"side": "request", "as_of": self._end}
        roots = self.rows("rois", ["root", "user"], pc.field("split") == "serve", **where)
        first = roots.sort_values("root").drop_duplicates("user").head(REQUESTS)
        columns = ["root", "user", "query", "time", "neighbours", "relevance", "linked", "ages"]
        found = self.rows("rois", columns, pc.field("root").isin(first["root"].tolist()), **where)
        return found.sort_values("root", ignore_index=True)

    def _nodes(self, where: pc.Expression) -> pd.DataFrame:
        return self.rows("nodes", ["node_type", "id", "key", "terms", "title"], where)

    def _links(self, items: list[int], had: list[int]) -> Links:
        """The lists of these items by edge type and source, as of the end of the night: the queries that the first are
        linked to, and the items that others lie beside."""
        of_items = (pc.field("edge_type") == "item_query") & pc.field("src").isin(items)
        beside = pc.field("edge_type").isin(list(BESIDE)) & pc.field("src").isin(had)
        found = self.rows("adjacency", ["edge_type", "src", "neighbours"], of_items | beside, as_of=self._end)
        return {(row["edge_type"], row["src"]): {*row["neighbours"].tolist()} for row in found.to_dict("records")}

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


@dataclass(frozen=True)
class _Read:
    """All that is read of the requests that are shown."""

    names: Names
    layout: RoiLayout
    weights: RelevanceWeights
    histories: Histories
    lists: pd.DataFrame
    links: Links

    def shown(self, row: Row) -> Shown:
        user, query = (self.names.key_of(kind, row[kind]) for kind in ("user", "query"))
        had = self._had(row)
        kept = self._kept(row, had)
        return Shown(
            user=self.names.label_of("user", str(user)),
            query=None if query is None else self.names.label_of("query", query),
            newest=[Said(self._label(item), f"{age} ago") for item, age in [*had.items()][:LENGTH]],
            kept=kept[:KEPT],
            held=len(kept),
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

    def _kept(self, row: Row, had: dict[int, str]) -> list[Said]:
        """Each neighbour once, in order of its place in the region; of an item the exact age."""
        kept = kept_neighbours(self.layout, row, self.names, self.weights)
        linked = "linked to the query" if row["query"] >= 0 else ""
        said = []
        for near in kept[kept["age"].notna()].drop_duplicates(["node_type", "neighbour"]).itertuples():
            item = near.node_type == "item"
            age = had[self.names.id_of("item", near.neighbour)] if item else near.age
            words = [f"likeness {near.likeness:.2f}", linked * near.linked, f"{age} ago"]
            said.append(Said(near.label if item else f"query {near.label}", ", ".join(filter(None, words))))
        return said

    def _list(self, user: str | None, query: str | None) -> list[str]:
        """Keys of the request's items, best first."""
        asked = self.lists["query"].isna() if query is None else self.lists["query"] == query
        return self.lists["item"][asked & (self.lists["user"] == user)].tolist()

    def _why(self, row: Row, key: str, had: dict[int, str]) -> str:
        """What links an item of the list to the request."""
        item, kept = self.names.id_of("item", key), self._kept_items(row)
        words = [f"had {had[item]} ago"] if item in had else []
        if row["query"] in self.links.get(("item_query", item), ()):
            words.append("linked to the query")
        for edge_type, word in BESIDE.items():
            near = [self._label(other) for other in kept if item in self.links.get((edge_type, other), ())]
            words += [f"{word} {listed(near[:2])}"] if near else []
        return ", ".join(words) or "no direct link"

    def _kept_items(self, row: Row) -> list[int]:
        """Items of the history that the region keeps, each once."""
        slots = (slot for slot in self.layout.history if slot.dst_type == "item")
        kept = (row["neighbours"][slot.start : slot.start + slot.size].tolist() for slot in slots)
        return [item for item in dict.fromkeys(chain(*kept)) if item >= 0]
