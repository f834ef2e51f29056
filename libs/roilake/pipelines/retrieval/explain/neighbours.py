"""Regions of interest as tidy tables with names in them, without Spark."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from roilake.errors import LakeError
from roilake.pipelines.retrieval.config import RelevanceWeights
from roilake.pipelines.retrieval.roi.layout import RoiLayout, entries, node_types
from roilake.reading import read

UNITS = (("years", 31_557_600), ("days", 86_400), ("h", 3600), ("min", 60), ("s", 1))
WORDS = 3
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Names:
    """Keys and labels of all nodes of a night, by type and id."""

    nodes: pd.DataFrame  # node_type, id, key, terms, title

    @classmethod
    def read(cls, lake: str | Path, ds: date | str | None = None) -> Names:
        """Those of the published night ``ds`` (default: the last one)."""
        return cls(read("nodes", lake=lake, ds=ds, columns=["node_type", "id", "key", "terms", "title"]))

    @cached_property
    def _ids(self) -> dict[tuple[str, str], int]:
        return dict(zip(zip(self.nodes["node_type"], self.nodes["key"], strict=True), self.nodes["id"], strict=True))

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return self.nodes.set_index(["node_type", "id"])

    def id_of(self, node_type: str, key: str) -> int:
        """Raises LakeError for a key that the night does not know."""
        if (node_type, key) not in self._ids:
            raise LakeError(f"nodes: no {node_type} {key!r} is known on this night; see the keys in table nodes")
        return int(self._ids[node_type, key])

    def key_of(self, node_type: str, node: int) -> str | None:
        """None for -1."""
        return None if node < 0 else str(self._rows.at[(node_type, node), "key"])

    def label_of(self, node_type: str, key: str) -> str:
        """The node's title, or else the first words of its text, and its key where they differ. Raises LakeError as
        ``id_of`` does."""
        node = self._rows.loc[(node_type, self.id_of(node_type, key))]
        name = node["title"] or " ".join(node["terms"][:WORDS])
        same = name in ("", key, " ".join(WORD.findall(key.lower())))
        return key if same else f"{name} ({key})"


def kept_neighbours(layout: RoiLayout, row: Mapping[str, Any], names: Names, weights: RelevanceWeights) -> pd.DataFrame:
    """One row per neighbour that a row of ``rois`` keeps, and why it was kept: entry and above (places in the row's
    arrays, -1 above hop 1), path (of edge types from the root), hop, edge_type, position (0 is best), parent_type,
    parent, node_type, neighbour (keys), label, and

    * relevance: the weighted sum of the three parts; of what is not from the user's history the likeness alone;
    * likeness: to the focal, in [-1/3, 1];
    * linked: whether it is linked to the query; None outside of the history;
    * age: of its newest event at the time of the request, in words, to an eighth; None outside of the history."""
    ids_S, likeness_S = np.asarray(row["neighbours"]), np.asarray(row["relevance"], np.float64) / 127
    roots = {"item": row["root"], "user": row["user"], "query": row["query"]}
    known = zip(np.asarray(row["linked"]).tolist(), (np.asarray(row["ages"], np.int64) + 128).tolist(), strict=True)
    history = dict(zip(layout.entry_H.tolist(), known, strict=True))
    found = []
    for entry in entries(layout):
        node = int(ids_S[entry.entry])
        if node >= 0:
            parent_type, node_type = node_types(entry.edge_type)
            above = int(ids_S[entry.above]) if entry.above >= 0 else int(roots[entry.root_type])
            key = str(names.key_of(node_type, node))
            named = {
                "parent_type": parent_type,
                "parent": names.key_of(parent_type, above),
                "node_type": node_type,
                "neighbour": key,
                "label": names.label_of(node_type, key),
            }
            found.append({**asdict(entry), **named, **_why(likeness_S[entry.entry], history.get(entry.entry), weights)})
    columns = [
        "entry", "above", "slot", "hop", "edge_type", "position", "parent_type", "parent", "node_type", "neighbour",
        "label", "relevance", "likeness", "linked", "age",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns).rename(columns={"slot": "path"})


def _why(likeness: float, history: tuple[int, int] | None, weights: RelevanceWeights) -> dict[str, Any]:
    """Relevance of a neighbour and its parts, from its ``linked`` and age code where it is one of the history."""
    if history is None:
        return {"relevance": likeness, "likeness": likeness, "linked": None, "age": None}
    linked, code = history
    relevance = weights.likeness * likeness + weights.linked * linked + weights.recency * (1 - code / 256)
    return {"relevance": relevance, "likeness": likeness, "linked": bool(linked), "age": age(code)}


def age(code: int) -> str:
    """The least age that has this code (see ``retrieval.roi``): 1 + seconds in eighths of an octave."""
    return span(2.0 ** (code // 8) * (1 + code % 8 / 8) - 1)


def span(seconds: float) -> str:
    """A time in words: ``2.3 days``."""
    unit, size = next((unit, size) for unit, size in UNITS if seconds >= size or size == 1)
    count = seconds / size
    return f"{count:.0f} {unit}" if count >= 10 or size == 1 else f"{count:.1f} {unit}"
