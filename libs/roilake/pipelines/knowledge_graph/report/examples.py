"""New facts that a person can judge: those that the model is surest of, with texts and with what is known beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from roilake.lake import Lake, Publication
from roilake.pipelines.knowledge_graph.ingest.texts import words_of

RELATIONS, EACH, KNOWN = 4, 4, 4
"""So many relations, new facts of each, and known facts beside one."""
_LONGEST = 60
_FACT = ("head", "relation", "tail")

Examples = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Facts:
    """What a page reads: the surest new facts, and each relation's name by key."""

    examples: Examples
    relations: Mapping[str, str]


def read_facts(lake: Lake, night: Publication) -> Facts:
    """Of a published night."""
    if "completed_edges" not in night.versions:
        return Facts((), {})
    rows = _rows(lake, night, "relations", ("key", "text")).to_pylist()
    relations = {row["key"]: relation_name(row["key"], row["text"]) for row in rows}
    return Facts(_examples(lake, night, relations), relations)


def relation_name(key: str, text: str) -> str:
    """A relation's text with its key, where that says something else."""
    return key if words_of(key) == words_of(text) else f"{text} ({key})"


def _examples(lake: Lake, night: Publication, relations: Mapping[str, str]) -> Examples:
    """The surest new facts of the relations with most of them, an entity once each."""
    first = _rows(lake, night, "completed_edges", ("sought", *_FACT, "probability", "rank")).filter(
        pc.field("rank") == 1
    )
    triples = _rows(lake, night, "triples", _FACT)
    common = first["relation"].value_counts().to_pylist()
    names = [row["values"] for row in sorted(common, key=lambda row: (-row["counts"], row["values"]))[:RELATIONS]]
    chosen = [row for name in names for row in _surest(first.filter(pc.field("relation") == name))]
    beside = [_known(triples, row) for row in chosen]
    text = _texts(lake, night, {key for row in (*chosen, *beside) for key in _ends(row)})
    named = [row | {"relation": relations[row["relation"]]} for row in chosen]
    return tuple(_shown(row, known["keys"], text) for row, known in zip(named, beside, strict=True))


def _rows(lake: Lake, night: Publication, table: str, columns: tuple[str, ...]) -> pa.Table:
    return lake.to_arrow(table, night.versions[table], filters={"ds": night.ds}, columns=columns)


def _surest(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Some that no two of name the same entity, where there are such."""
    order = [("probability", "descending"), ("head", "ascending"), ("tail", "ascending")]
    found = rows.sort_by(order).slice(0, 100 * EACH).to_pylist()
    seen: dict[str, int] = {}
    for row in found:
        named = row["tail"] if row["sought"] == "tail" else row["head"]
        row["turn"] = seen[named] = seen.get(named, 0) + 1
    yield from sorted(found, key=lambda row: row["turn"])[:EACH]


def _known(triples: pa.Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the asked entity and relation."""
    asked, other = ("head", "tail") if row["sought"] == "tail" else ("tail", "head")
    same = (pc.field("relation") == row["relation"]) & (pc.field(asked) == row[asked])
    return {"keys": sorted(triples.filter(same)[other].to_pylist())[: KNOWN + 1]}


def _ends(row: Mapping[str, Any]) -> list[str]:
    return row["keys"] if "keys" in row else [row["head"], row["tail"]]


def _texts(lake: Lake, night: Publication, keys: set[str]) -> dict[str, str]:
    """By key, the beginning of the text; the key itself where there is none."""
    rows = _rows(lake, night, "entities", ("key", "text")).filter(pc.field("key").isin(sorted(keys)))
    return {row["key"]: _begun(row["text"]) or row["key"] for row in rows.to_pylist()}


def _begun(text: str) -> str:
    name = text.split(": ")[0] if ": " in text[:_LONGEST] else text
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST].rstrip()}..."


def _shown(row: Mapping[str, Any], known: list[str], text: Mapping[str, str]) -> dict[str, Any]:
    asked, found = ("head", "tail") if row["sought"] == "tail" else ("tail", "head")
    relation = row["relation"] if row["sought"] == "tail" else f"{row['relation']} of"
    listed = ", ".join([*(text[key] for key in known[:KNOWN]), *(["..."] if len(known) > KNOWN else [])])
    return {
        "asked": text[row[asked]],
        "relation": relation,
        "found": text[row[found]],
        "known": listed,
        "probability": row["probability"],
    }
