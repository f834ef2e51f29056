"""Words and categories as dense ids, built from the ``nodes`` table and kept beside the model that learnt them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_TERMS = 50_000
TERMS_PER_NODE = 12


@dataclass(frozen=True)
class Vocabulary:
    """Id 0 means "none or unknown"; the entry at position p of a list has id p + 1.

    ``terms`` is shared by all node types; ``fields`` holds the values of each category field by node type."""

    terms: tuple[str, ...]
    fields: Mapping[str, Mapping[str, tuple[str, ...]]]

    @classmethod
    def build(cls, nodes: Mapping[str, pa.Table], previous: Vocabulary | None = None) -> Vocabulary:
        """From the nodes by type (columns ``terms``, ``fields``), by (count desc, word), at most 50,000 terms. A term
        that occurs once is left out: it can tell nothing of another node.

        Entries of ``previous`` keep their ids and new ones go behind them, so a warm start finds its own words."""
        all_terms = pa.chunked_array(
            [chunk.flatten() for table in nodes.values() for chunk in table["terms"].chunks], pa.string()
        )
        fields: dict[str, dict[str, tuple[str, ...]]] = {}
        for node_type in sorted(nodes):
            old = previous.fields.get(node_type, {}) if previous else {}
            columns = field_columns(nodes[node_type])
            fields[node_type] = {
                name: _ranked(columns[name][1] if name in columns else pa.array([], pa.string()), old.get(name, ()))
                for name in sorted({*columns, *old})
            }
        return cls(_ranked(all_terms, previous.terms if previous else (), least=2)[:MAX_TERMS], fields)

    @property
    def field_names(self) -> dict[str, list[str]]:
        """Of the fields of each node type."""
        return {node_type: sorted(values) for node_type, values in self.fields.items()}

    def term_ids(self, lists: pa.ChunkedArray) -> NDArray[np.int64]:
        """[N, 12] ids of each node's first terms, 0 padded."""
        chunks = [_padded_terms(chunk, self.terms) for chunk in lists.chunks]
        return np.concatenate(chunks) if chunks else np.zeros((0, TERMS_PER_NODE), np.int64)

    def field_ids(self, node_type: str, nodes: pa.Table) -> NDArray[np.int64]:
        """[N, F] ids of each node's categories, fields by name."""
        values = self.fields.get(node_type, {})
        columns = field_columns(nodes)
        ids_NF = np.zeros((nodes.num_rows, len(values)), np.int64)
        for position, name in enumerate(sorted(values)):
            if name in columns:
                rows, entries = columns[name]
                ids_NF[rows, position] = _ids(entries, values[name])
        return ids_NF

    def categories(self, node_type: str) -> dict[str, int]:
        """Number of ids of each field, "unknown" included."""
        values = self.fields.get(node_type, {})
        return {name: 1 + len(values[name]) for name in sorted(values)}

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        tree = json.loads(text)
        fields = {
            node_type: {name: tuple(values) for name, values in by_name.items()}
            for node_type, by_name in tree["fields"].items()
        }
        return cls(tuple(tree["terms"]), fields)


def field_columns(nodes: pa.Table) -> dict[str, tuple[NDArray[np.int64], pa.Array]]:
    """Per field of the ``fields`` maps: the row numbers that have it, and their values."""
    if not nodes.num_rows:
        return {}
    maps = pa.concat_arrays(nodes["fields"].chunks)
    offsets = np.asarray(maps.offsets)
    row_of_entry = np.repeat(np.arange(len(maps)), np.diff(offsets))
    keys = maps.keys.slice(offsets[0], offsets[-1] - offsets[0])
    items = maps.items.slice(offsets[0], offsets[-1] - offsets[0])
    columns = {}
    for name in sorted(pc.unique(keys).to_pylist()):
        chosen = np.asarray(pc.equal(keys, name).to_numpy(zero_copy_only=False))
        columns[name] = (row_of_entry[chosen], items.filter(pa.array(chosen)))
    return columns


def _padded_terms(lists: pa.ListArray, terms: tuple[str, ...]) -> NDArray[np.int64]:
    offsets = np.asarray(lists.offsets)
    ids = _ids(lists.values, terms)
    lengths_N = np.minimum(np.diff(offsets), TERMS_PER_NODE)
    columns_T = np.arange(TERMS_PER_NODE)
    padded_NT = np.zeros((len(lists), TERMS_PER_NODE), np.int64)
    filled_NT = columns_T < lengths_N[:, None]
    padded_NT[filled_NT] = ids[(offsets[:-1, None] + columns_T)[filled_NT]]
    return padded_NT


def _ranked(values: pa.Array | pa.ChunkedArray, first: tuple[str, ...], *, least: int = 1) -> tuple[str, ...]:
    """``first``, then the other distinct values that occur at least ``least`` times, by (count desc, value)."""
    counts = pc.value_counts(values.drop_null())
    known = set(first)
    found = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    new = sorted((-count, value) for value, count in found if value not in known and count >= least)
    return (*first, *(value for _, value in new))


def _ids(values: pa.Array, entries: tuple[str, ...]) -> NDArray[np.int64]:
    found = pc.index_in(values, value_set=pa.array(entries, pa.string()))
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
