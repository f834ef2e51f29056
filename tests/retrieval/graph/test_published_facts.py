"""A retrieval night reads what a night of the knowledge graph published in the same lake."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.retrieval import build_graph
from roilake.errors import LakeError
from roilake.lake import Lake
from roilake.pipelines.retrieval.config import PublishedFacts, RetrievalConfig
from roilake.runtime.night import run_night
from tests.knowledge_graph.small import FILMS, night_of, write_graph
from tests.retrieval.two_nights import FIRST, SECOND, Nights

WIDTH, LEAST = 8, 0.3


@pytest.fixture
def copied(spark: SparkSession, nights: Nights, tmp_path: Path) -> Lake:
    shutil.copytree(nights.lake.folder, tmp_path / "lake", symlinks=True)
    return Lake.open(spark, tmp_path / "lake", create=False)


def with_facts(nights: Nights) -> RetrievalConfig:
    facts = PublishedFacts(least=LEAST, vectors=WIDTH)
    return nights.config.model_copy(update={"graph": nights.config.graph.model_copy(update={"facts": facts})})


def test_items_with_facts_are_neighbours_and_have_vectors(copied: Lake, nights: Nights, tmp_path: Path) -> None:
    write_graph(tmp_path)
    run_night(copied, night_of(tmp_path), FIRST)
    result = build_graph.run(copied, with_facts(nights), SECOND)
    assert result.upstreams["knowledge_graph"]["ds"] == str(FIRST)
    films = {str(100 + film): film for film in range(FILMS)}
    rows = copied.to_arrow("nodes", result.outputs["nodes"], filters={"ds": SECOND}).to_pylist()
    vectors = {(row["node_type"], row["key"]): row["vector"] for row in rows if row["vector"] is not None}
    items = {row["key"] for row in rows if row["node_type"] == "item"}
    assert {*vectors} == {("item", key) for key in {*films} & items} and len(vectors) > FILMS / 2
    assert np.isfinite(list(vectors.values())).all() and {len(vector) for vector in vectors.values()} == {WIDTH}
    lists = copied.to_arrow(
        "adjacency", result.outputs["adjacency"], filters={"edge_type": "item_item_known"}
    ).to_pylist()
    key_of = {row["id"]: row["key"] for row in rows if row["node_type"] == "item"}
    newest = max(row["as_of"] for row in lists)
    now = {key_of[row["src"]]: [key_of[id] for id in row["neighbours"]] for row in lists if row["as_of"] == newest}
    had = facts_of(copied)
    assert {*now} == {key for key in {*films} & items if any(had[key] & had[o] for o in {*films} & items if o != key)}
    for key, near in now.items():
        assert near and all(had[key] & had[other] for other in near)


def facts_of(lake: Lake) -> dict[str, set[object]]:
    """What each item has: (relation, side, entity) of known and of probable facts, and the facts themselves."""
    had: dict[str, set[object]] = {str(100 + film): set() for film in range(FILMS)}
    rows = lake.to_arrow("triples", lake.version("triples")).to_pylist()
    named = lake.to_arrow("completed_edges", lake.version("completed_edges")).to_pylist()
    for row in (*rows, *(row for row in named if row["probability"] >= LEAST)):
        fact = head, relation, tail = row["head"], row["relation"], row["tail"]
        for own, other in ((head, ("tail", tail)), (tail, ("head", head))):
            if own[0] == "f":
                had[str(100 + int(own[1:]))] |= {(relation, *other), fact}
    return had


def test_without_such_a_night_it_says_so(copied: Lake, nights: Nights) -> None:
    with pytest.raises(LakeError, match=f"needs a night of 'knowledge_graph' up to {SECOND}, and none is published"):
        build_graph.run(copied, with_facts(nights), SECOND)
