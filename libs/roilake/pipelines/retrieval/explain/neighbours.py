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
from roilake.pipelines.retrieval.roi.layout import RoiLayout, entries, node_types
from roilake.reading import read

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


def kept_neighbours(layout: RoiLayout, row: Mapping[str, Any], names: Names) -> pd.DataFrame:
    """One row per neighbour that a row of ``rois`` keeps: entry and above (places in the row's arrays, -1 above hop
    1), path (of edge types from the root), hop, edge_type, position (0 is best), parent_type, parent, node_type,
    neighbour (keys), label, and relevance to the focal in [-1/3, 1]."""
    ids_S, relevance_S = np.asarray(row["neighbours"]), np.asarray(row["relevance"], np.float64) / 127
    roots = {"item": row["root"], "user": row["user"], "query": row["query"]}
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
                "relevance": relevance_S[entry.entry],
            }
            found.append({**asdict(entry), **named})
    columns = [
        "entry", "above", "slot", "hop", "edge_type", "position", "parent_type", "parent", "node_type", "neighbour",
        "label", "relevance",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns).rename(columns={"slot": "path"})
